"""``python tests/sim/run.py --seed N``: replays a seed; ``--seeds A:B`` runs many at once."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.sim.life import simulate


def failure(seed: int) -> str:
    """What is wrong with ``seed``; empty where all holds."""
    try:
        simulate(seed)
    except Exception as error:
        return f"{type(error).__name__} {error}"
    return ""
