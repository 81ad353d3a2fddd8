"""All bugs that are planted into the engine: the simulation must find each of them."""

from tests.sim import plants_ends, plants_rows, plants_sinks
from tests.sim.planting import PLANTS, planted

__all__ = ["PLANTS", "planted", "plants_ends", "plants_rows", "plants_sinks"]
