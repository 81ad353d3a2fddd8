"""Tapio: streaming telemetry pipelines, and the node agent built from them.

What a pipeline is made of comes from ``sources``, ``enrich``, ``sample``, ``batch``, ``steps`` and
``sinks``; what a plugin is made of, and every error, stands here.
"""

from typing import TYPE_CHECKING

from tapio.lazy import lazy
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.errors import (
    ConfigError,
    ContractError,
    DecodeError,
    DeliveryError,
    EndOfStream,
    KernelError,
    PartlyRejected,
    Rejected,
    Retryable,
    SchemaError,
    TapioError,
)
from tapio.model.plan import Plan
from tapio.model.policy import Settings
from tapio.model.schema import Field, Schema
from tapio.model.secret import Secret
from tapio.model.stage import (
    Batching,
    Context,
    Delivery,
    Enrich,
    Later,
    Lookup,
    Read,
    Sample,
    Sink,
    Source,
    Spec,
    Stateful,
    Step,
    Tap,
    Transform,
    Window,
    Write,
)
from tapio.model.ticket import Outcome, Ticket
from tapio.model.when import When

if TYPE_CHECKING:  # these bring the engine, or every stage
    from tapio import batch, enrich, sample, sinks, sources, steps
    from tapio.pipeline import Pipeline
    from tapio.registry import Registry
else:
    _ROOMS = ("batch", "enrich", "sample", "sinks", "sources", "steps")
    _HOMES = {"Pipeline": ".pipeline", "Registry": ".registry"}
    __getattr__ = lazy(__name__, _HOMES | {room: f".{room}" for room in _ROOMS})

__all__ = [
    "Batch",
    "Batching",
    "ConfigError",
    "Context",
    "ContractError",
    "DecodeError",
    "Delivery",
    "DeliveryError",
    "EndOfStream",
    "Enrich",
    "EntityTable",
    "Field",
    "KernelError",
    "Later",
    "Lookup",
    "Outcome",
    "PartlyRejected",
    "Pipeline",
    "Plan",
    "Read",
    "Registry",
    "Rejected",
    "Retryable",
    "Sample",
    "Schema",
    "SchemaError",
    "Secret",
    "Settings",
    "Sink",
    "Source",
    "Spec",
    "Stateful",
    "Step",
    "Tap",
    "TapioError",
    "Ticket",
    "Transform",
    "When",
    "Window",
    "Write",
    "batch",
    "enrich",
    "sample",
    "sinks",
    "sources",
    "steps",
]
