"""Tapio: streaming telemetry pipelines, and the node agent built from them.

What a pipeline is made of comes from ``sources``, ``enrich``, ``sample``, ``batch``, ``steps`` and
``sinks``; what a plugin is made of, and every error, stands here.
"""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio import batch, enrich, sample, sinks, sources, steps
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
    from tapio.pipeline import Pipeline
    from tapio.registry import Registry
else:
    # Numpy and pyarrow take 0.3 s: the command has to be there before, to answer a Ctrl-C.
    _NAMES = {
        "model.batch": "Batch",
        "model.entities": "EntityTable",
        "model.errors": "ConfigError ContractError DecodeError DeliveryError EndOfStream"
        " KernelError PartlyRejected Rejected Retryable SchemaError TapioError",
        "model.plan": "Plan",
        "model.policy": "Settings",
        "model.schema": "Field Schema",
        "model.secret": "Secret",
        "model.stage": "Batching Context Delivery Enrich Later Lookup Read Sample Sink Source Spec"
        " Stateful Step Tap Transform Window Write",
        "model.ticket": "Outcome Ticket",
        "model.when": "When",
        "pipeline": "Pipeline",
        "registry": "Registry",
    }
    _ROOMS = ("batch", "enrich", "sample", "sinks", "sources", "steps")
    _HOMES = {name: f".{home}" for home, names in _NAMES.items() for name in names.split()}
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


def __dir__() -> list[str]:
    """What can be had from here, for a prompt that completes names."""
    return __all__
