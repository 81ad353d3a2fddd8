"""Which pipeline ``run`` runs: a file, a profile, or what this machine lets us see."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tapio.cli.validate import checked
from tapio.config import ConfigErrors, document, profile
from tapio.kernel import capability
from tapio.model.plan import Plan, tag
from tapio.registry import Registry

WITH_EBPF, WITHOUT = "default", "procfs"
"""The profiles of the default pipeline."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
LESS = (
    "reading /proc instead, which misses processes that live for less than a moment; "
    "`tapio run --profile default` insists on eBPF"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and whether it may be exchanged for one without eBPF."""

    plan: Plan
    replaceable: bool = False


def choose(args: argparse.Namespace, logger: logging.Logger) -> Choice:
    """The plan that the command line asks for; says what was chosen where it asks for none.

    Raises ConfigError.
    """
    if args.config is not None:
        return Choice(_read(Path(args.config), args.set, logger))
    if args.profile is not None:
        return Choice(_profile(args.profile, args, logger))
    lacking = capability.missing()
    if lacking:
        return Choice(without_ebpf(args, logger, "; ".join(lacking)))
    logger.info("watching processes with eBPF")
    return Choice(_profile(WITH_EBPF, args, logger), replaceable=True)


def without_ebpf(args: argparse.Namespace, logger: logging.Logger, why: str) -> Plan:
    """The default pipeline from /proc; says that eBPF cannot be used, and why."""
    logger.warning("eBPF cannot be used: %s; %s", why, LESS)
    return _profile(WITHOUT, args, logger)


def privileged() -> bool:
    """Whether this process may load BPF programs, as far as capabilities go."""
    held = capability.effective()
    both = held >> capability.BPF & 1 and held >> capability.PERFMON & 1
    return bool(held >> capability.SYS_ADMIN & 1 or both)


def _profile(name: str, args: argparse.Namespace, logger: logging.Logger) -> Plan:
    """A built-in pipeline; its files stand in the state folder that was asked for."""
    overrides = list(args.set)
    if args.state_dir is not None:
        rows = Path(args.state_dir) / "rows"
        overrides.insert(0, f"sinks.0.path={json.dumps(str(rows))}")
    plan = _read(profile(name), overrides, logger)
    return with_otlp(plan, Registry.installed(), os.environ)


def _read(path: Path, overrides: Sequence[str], logger: logging.Logger) -> Plan:
    """The plan of a file, whose parts fit together. Raises ConfigErrors, logs warnings."""
    read = document(path, registry=Registry.installed(), overrides=overrides)
    found = checked(read, environment=False)
    if errors := tuple(f for f in found if f.level == "error"):
        raise ConfigErrors(errors)
    for finding in found:
        if finding.level == "warning":
            logger.warning("%s", finding)
    return read.plan


def with_otlp(plan: Plan, registry: Registry, environ: Mapping[str, str]) -> Plan:
    """``plan`` with an OTLP sink where the environment names an endpoint and it has none."""
    if not any(environ.get(name) for name in ENDPOINTS):
        return plan
    if any(tag(sink) == "otlp" for sink in plan.sinks):
        return plan
    otlp = registry.get("sink", "otlp")
    return replace(plan, sinks=(*plan.sinks, otlp()))  # type: ignore[arg-type]
