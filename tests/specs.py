"""Small stages of each kind, in a registry of their own: what the configuration is tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from tapio.model.schema import Field, Schema
from tapio.model.secret import Secret
from tapio.model.stage import Batching, Enrich, Sample, Sink, Source, Step
from tapio.model.when import When
from tapio.registry import Registry

SAMPLE = """\
pipeline: node
sources:
  - type: process
enrich:
  - type: cgroup
sample:
  - type: adaptive
    target_per_s: 500
batch:
  type: by
  max_rows: 8192
  max_age_s: 0.1
sinks:
  - type: file
    path: out
  - type: otlp
    endpoint: http://127.0.0.1:4318
    when: {topic: [process]}
"""
"""The file that every release must take as it is."""


class Process(Source, frozen=True, tag="process"):
    """A source whose rows hold command lines."""

    schemas: ClassVar[tuple[Schema, ...]] = (
        Schema.of("process.exec", Field("pid", "uint32"), Field("argv", "string")),
        Schema.of("process.exit", Field("pid", "uint32"), Field("exit_code", "uint8")),
    )


class Network(Source, frozen=True, tag="network"):
    """A source of connections, that can give its rows again."""

    replayable: ClassVar[bool] = True
    schemas: ClassVar[tuple[Schema, ...]] = (
        Schema.of("network.connect", Field("port", "uint16"), Field("address", "text")),
    )


class Anything(Source, frozen=True, tag="anything"):
    """A source of which nobody knows what it gives."""


class Cgroup(Enrich, frozen=True, tag="cgroup"):
    """Adds the entity."""


class Adaptive(Sample, frozen=True, tag="adaptive"):
    """Keeps ``target_per_s`` rows."""

    target_per_s: Annotated[float, msgspec.Meta(gt=0)] = 1000.0
    """Rows kept a second, over all topics."""


class By(Batching, frozen=True, tag="by"):
    """Gathers rows."""

    regroups: ClassVar[bool] = True
    max_rows: Annotated[int, msgspec.Meta(ge=1, description="Rows of a batch.")] = 8192
    max_age_s: float = 0.1


class Redact(Step, frozen=True, tag="redact"):
    """Hides secrets."""


class Filter(Step, frozen=True, tag="filter"):
    """Keeps the rows that ``where`` chooses."""

    where: When


class File(Sink, frozen=True, tag="file"):
    """Writes to a folder."""

    path: str
    sizes: tuple[int, ...] = ()
    labels: dict[str, int] = msgspec.field(default_factory=dict)
    root: Path | None = None


class Otlp(Sink, frozen=True, tag="otlp"):
    """Sends to an endpoint."""

    endpoint: str = "http://127.0.0.1:4318"
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    token: Secret | None = None
    compression: Literal["gzip", "zstd", "none"] = "zstd"
    tls: bool = False
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint {self.endpoint!r} must begin with http:// or https://")


def registry() -> Registry:
    """All of the above."""
    made = Registry()
    for kind, classes in {
        "source": (Process, Network, Anything),
        "enrich": (Cgroup,),
        "sample": (Adaptive,),
        "batch": (By,),
        "step": (Redact, Filter),
        "sink": (File, Otlp),
    }.items():
        for spec in classes:
            made.add(kind, spec)
    return made
