"""``Pipeline``: builds a plan and runs it; says what a config file says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tapio.engine.run import Engine
from tapio.model.errors import ConfigError
from tapio.model.plan import Plan, Stage, misfits
from tapio.model.policy import Settings
from tapio.model.stage import Batching, Enrich, Sample, Sink, Source, Step


class Pipeline:
    """Immutable: each call returns a new pipeline, and nothing opens before ``run``.

        pipeline = (Pipeline("node")
            .source(sources.Process())
            .enrich(enrich.Cgroup())
            .sample(sample.Adaptive(target_per_s=500))
            .batch(batch.By(max_rows=8192, max_age_s=0.1))
            .sink(sinks.Otlp("http://127.0.0.1:4318")))
        await pipeline.run()

    ``run`` installs no signal handlers and no logging; several may run in one loop.
    """

    __slots__ = ("plan",)

    def __init__(self, name: str) -> None:
        """An empty pipeline called ``name``."""
        self.plan = Plan(name, (), (), ())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.plan == other.plan

    def __repr__(self) -> str:
        return f"Pipeline.of({self.plan!r})"

    @classmethod
    def of(cls, plan: Plan) -> Pipeline:
        """The pipeline of a plan, as one read from a file."""
        new = cls(plan.name)
        new.plan = plan
        return new

    def source(self, *sources: Source) -> Pipeline:
        """Add sources; their rows are fanned in."""
        return self.of(replace(self.plan, sources=self.plan.sources + sources))

    def enrich(self, *stages: Enrich) -> Pipeline:
        """Add enrichers to the trunk, in order."""
        return self._trunk(*stages)

    def step(self, *stages: Step) -> Pipeline:
        """Add steps to the trunk, in order."""
        return self._trunk(*stages)

    def sample(self, *stages: Sample) -> Pipeline:
        """Add samplers to the trunk, in order."""
        return self._trunk(*stages)

    def batch(self, *stages: Batching) -> Pipeline:
        """Add batchers to the trunk, in order."""
        return self._trunk(*stages)

    def sink(self, *sinks: Sink) -> Pipeline:
        """Add sinks; each gets all rows that its ``when`` wants, by a channel of its own."""
        return self.of(replace(self.plan, sinks=self.plan.sinks + sinks))

    def settings(self, settings: Settings) -> Pipeline:
        """Replace the settings."""
        return self.of(replace(self.plan, settings=settings))

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until the sources end or ``stop`` is set, and drain (rule 20).

        Raises ConfigError where there is no source or no sink, or where something cannot stand
        where it was put, and what ``Engine.run`` raises.
        """
        if not self.plan.sources or not self.plan.sinks:
            missing = "sink" if self.plan.sources else "source"
            raise ConfigError(
                f"pipeline {self.plan.name!r} has no {missing}; add one with .{missing}()"
            )
        for path, reason in misfits(self.plan):
            raise ConfigError(reason, path=path)
        await Engine(self.plan).run(stop)

    def _trunk(self, *stages: Stage) -> Pipeline:
        return self.of(replace(self.plan, trunk=self.plan.trunk + stages))
