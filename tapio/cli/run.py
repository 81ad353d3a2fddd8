"""``tapio run``: a pipeline from its opening to the printed ledger."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from tapio.cli import arrow, logs, serve
from tapio.cli.boundary import OK, NoPrivilegeError, UsageError
from tapio.model.errors import KernelError

if TYPE_CHECKING:
    from tapio.model.plan import Plan

DETAILS = """\
Without --config or --profile this is the default pipeline: what eBPF shows of
processes or, where eBPF cannot be used, what /proc shows; it says which, why,
and what is missing. Rows go to Arrow files in the state folder (`tapio show`
reads them), and to OTLP where OTEL_EXPORTER_OTLP_ENDPOINT is set.

The first SIGINT (Ctrl-C), SIGTERM or SIGHUP stops the sources and drains what
is under way; then the ledger says where every row went. The second ends at once.

examples:
  tapio run --for 10s
  tapio run -c node.yaml --set sinks.0.path=/var/lib/tapio
  tapio run -c node.yaml --listen 0.0.0.0:9464 --log-format json --quiet
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 tapio run

environment:
  XDG_STATE_HOME               the state folder is `tapio` in it (~/.local/state)
  OTEL_EXPORTER_OTLP_*         endpoint, headers, compression, TLS of OTLP
  OTEL_METRICS_EXPORTER=otlp   push Tapio's own metrics over OTLP too
  OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME
                               what is sent and pushed is about
  NO_COLOR                     no colours

exit codes:
  0 end or drained stop, 1 engine or stage error, 2 usage, 77 no privilege for
  any source, 78 configuration, 130 second signal
"""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """``500ms``, ``10s``, ``2m``, ``1h``, ``1d``, or a number of seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; say 500ms, 10s, 2m or 1h")
    return float(found[1]) * UNITS[found[2] or "s"]


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "run",
        help="run a pipeline; without a name for it, this node's default one",
        description="Run a pipeline until its sources end or it is told to stop.",
        epilog=DETAILS,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-c", "--config", metavar="FILE", help="the pipeline's config file")
    which.add_argument("--profile", metavar="NAME", help="a built-in pipeline by name")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a setting of the file, as in sample.0.target_per_s=100; repeatable",
    )
    parser.add_argument(
        "--for", dest="duration", type=seconds, metavar="TIME", help="stop after 500ms, 10s, 2m, 1h"
    )
    parser.add_argument(
        "--listen",
        default=serve.DEFAULT,
        metavar="ADDR:PORT",
        help=f"where /metrics, /livez, /readyz and /status are, or off ({serve.DEFAULT})",
    )
    parser.add_argument("--state-dir", metavar="DIR", help="the state folder; one agent each")
    parser.add_argument(
        "--loop", choices=("auto", "uvloop", "asyncio"), default="auto", help="the event loop"
    )
    _add_display(parser)


def _add_display(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-live", action="store_true", help="lines in place of the live table on a terminal"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    parser.add_argument("--log-level", choices=logs.LEVELS, help="what is logged (info)")
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        default="auto",
        help="of the logs on stderr; auto is text on a terminal, else JSON lines",
    )


def run(args: argparse.Namespace) -> int:
    """Run it; the exit code. Errors are raised."""
    where = serve.address(args.listen)
    arrow.forgo_pandas()
    level = args.log_level or ("warning" if args.quiet else "info")
    handler = logs.install(level, args.log_format, debug=args.debug)
    try:
        return _run(args, where)
    finally:
        logs.remove(handler)


def _run(args: argparse.Namespace, where: serve.Address | None) -> int:
    from tapio.cli.choice import choose, privileged, without_ebpf
    from tapio.cli.lock import locked
    from tapio.cli.operation import Operation, Wishes
    from tapio.cli.signals import Signals
    from tapio.engine.setting import state_dir

    logger = logging.getLogger("tapio")
    wishes = Wishes(where, args.duration, args.quiet, not args.no_live)
    choice = choose(args, logger)
    plan = _placed(choice.plan, args.state_dir)
    with Signals() as signals, locked(state_dir(plan)):
        operation = Operation(plan, wishes, logger)
        try:
            _drive(args.loop, operation.run(signals))
        except KernelError as error:
            if choice.replaceable and not operation.opened:
                plan = _placed(without_ebpf(args, logger, str(error)), args.state_dir)
                _drive(args.loop, Operation(plan, wishes, logger).run(signals))
            elif privileged():
                raise
            else:
                raise NoPrivilegeError(str(error)) from error
    return OK


def _placed(plan: Plan, folder: str | None) -> Plan:
    """``plan`` with its state in ``folder``."""
    if folder is None:
        return plan
    return replace(plan, settings=msgspec.structs.replace(plan.settings, state_dir=folder))


def _drive(loop: str, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end on the loop of that name."""
    with asyncio.Runner(loop_factory=_factory(loop)) as runner:
        runner.run(work)


def _factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if loop == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if loop == "uvloop":
            raise UsageError("uvloop is not installed; say --loop asyncio") from error
        return asyncio.new_event_loop
    return uvloop.new_event_loop
