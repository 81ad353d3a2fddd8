"""Where a pipeline runs: its origin, its resource attributes, its folders, its contexts."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

from opentelemetry.metrics import Meter

from tapio.home import expanded
from tapio.model.origin import Origin, Sequences
from tapio.model.plan import Plan
from tapio.model.stage import Clock, Context, Stopping


def origin(host_root: Path) -> Origin:
    """This node, this boot, and a new epoch."""
    node = _variable("TAPIO_NODE") or socket.gethostname()
    try:
        boot = (host_root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return Origin(node, boot, secrets.token_hex(8))


def resource(plan: Plan, origin: Origin) -> dict[str, str]:
    """OpenTelemetry resource attributes: ours, then the environment's, then the plan's.

    ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` as the OpenTelemetry SDK
    specification has them ("Specifying resource information via an environment variable").
    """
    said = {
        "service.name": "tapio",
        "service.instance.id": origin.epoch,
        "host.name": origin.node,
        "os.type": "linux",
    }
    for pair in _variable("OTEL_RESOURCE_ATTRIBUTES").split(","):
        name, _, value = pair.partition("=")
        if name.strip() and "=" in pair:
            said[name.strip()] = unquote(value.strip())
    if service := _variable("OTEL_SERVICE_NAME"):
        said["service.name"] = service
    return said | plan.settings.resource


def _variable(name: str) -> str:
    """An environment variable, U+FFFD for what is no UTF-8: no wire takes anything else."""
    return os.fsencode(os.environ.get(name, "")).decode(errors="replace")


def state_dir(plan: Plan) -> Path:
    """Where state is kept: the plan's, else ``$XDG_STATE_HOME/tapio``. Raises ConfigError."""
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return expanded(plan.settings.state_dir or f"{home}/tapio", path="settings.state_dir")


def contexts(
    plan: Plan,
    *,
    clock: Clock,
    stopping: Stopping,
    pressure: Callable[[], float],
    meter: Meter,
    logger: logging.Logger,
    origin: Origin,
) -> Callable[[str], Context]:
    """Makes the Context of each stage by its label."""
    attributes: Mapping[str, str] = resource(plan, origin)
    sequences = Sequences()
    home = state_dir(plan)

    def context(label: str) -> Context:
        return Context(
            pipeline=plan.name,
            stage=label,
            clock=clock,
            stopping=stopping,
            pressure=pressure,
            host_root=Path(plan.settings.host_root),
            state_dir=home,
            meter=meter,
            logger=logger.getChild(label),
            origin=origin,
            sequences=sequences,
            resource=attributes,
        )

    return context
