"""Whether this machine has what a plan asks for: privileges, folders, files, names.

Nothing is opened, made or sent; a name is resolved, which may ask a server. No finding shows a
value: it may have been filled in.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from tapio.config.node import join
from tapio.config.topology import Finding
from tapio.engine.setting import state_dir
from tapio.home import expanded
from tapio.kernel import capability
from tapio.model.errors import ConfigError
from tapio.model.plan import Plan, tag
from tapio.model.stage import Sink, Source, Spec
from tapio.model.when import When

RESOLVE_S = 5.0
"""How long a name may take: resolvers try a silent server for 5 s by default."""

HOMELESS = "~ is no home that can be found; set HOME, or write the path in full"

_SCHEMES = ("http", "https", "grpc", "nats", "tls", "bolt", "neo4j", "neo4j+s", "bolt+s")


def check(plan: Plan) -> Iterator[Finding]:
    """What is missing here, one finding each."""
    if homeless := list(_homeless(plan)):
        yield from homeless
        return
    yield from _kernel(plan)
    yield from _state(plan)
    for index, source in enumerate(plan.sources):
        yield from _readable(source, f"sources.{index}")
    for index, stage in enumerate(plan.trunk):
        yield from _files(stage, f"trunk.{index}")
    for index, sink in enumerate(plan.sinks):
        yield from _writable_path(sink, f"sinks.{index}")
        yield from _files(sink, f"sinks.{index}")
        yield from _endpoints(sink, f"sinks.{index}")


def _homeless(plan: Plan) -> Iterator[Finding]:
    """Paths below a home that cannot be found; without it nothing is known of them."""
    try:
        state_dir(plan)
    except ConfigError:
        yield Finding("error", "settings.state_dir", HOMELESS)
    for room, specs in (("sources", plan.sources), ("trunk", plan.trunk), ("sinks", plan.sinks)):
        for index, spec in enumerate(specs):
            yield from _without_home(spec, f"{room}.{index}")


def _without_home(spec: Spec, path: str) -> Iterator[Finding]:
    for at, value in _texts(spec, path):
        if at.endswith((".path", ".object", "_file")):
            try:
                expanded(value)
            except ConfigError:
                yield Finding("error", at, HOMELESS)


def _kernel(plan: Plan) -> Iterator[Finding]:
    """Sources that load programs need privileges, libbpf and BTF."""
    wanting = [f"sources.{i}" for i, s in enumerate(plan.sources) if needs_bpf(s)]
    lacking = capability.missing() if wanting else []
    for path in wanting:
        for clause in lacking:
            yield Finding("error", path, f"eBPF cannot be used: {clause}")


def needs_bpf(source: Source) -> bool:
    """Whether it loads programs into the kernel: all observers do."""
    return tag(source) == "ebpf" or type(source).__module__.startswith("tapio.observers.")


def _state(plan: Plan) -> Iterator[Finding]:
    if why := unwritable(state_dir(plan)):
        said = f"the state folder cannot be written: {why}; set another"
        yield Finding("error", "settings.state_dir", said)
    if not (Path(plan.settings.host_root) / "proc").is_dir():
        yield Finding("error", "settings.host_root", "there is no folder `proc` below it")


def _readable(source: Source, path: str) -> Iterator[Finding]:
    for name in ("path", "object"):
        text = getattr(source, name, None)
        if isinstance(text, str) and text and not os.access(expanded(text), os.R_OK):
            yield Finding(
                "error", join(path, name), "there is nothing that can be read at this path"
            )


def _writable_path(sink: Sink, path: str) -> Iterator[Finding]:
    text = getattr(sink, "path", None)
    if isinstance(text, str) and text and (why := unwritable(expanded(text))):
        yield Finding("error", join(path, "path"), f"cannot be written: {why}")


def unwritable(folder: Path) -> str:
    """Why nothing can be made at ``folder`` or below it; empty where it can."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return "a file stands where a folder must be"
    if os.access(there, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(there).f_flag & os.ST_RDONLY
    return "the file system is read-only" if read_only else "permission denied"


def _files(spec: Spec, path: str) -> Iterator[Finding]:
    """Fields that end in ``_file`` name a file that must be readable."""
    for at, value in _texts(spec, path):
        named = at.endswith("_file") and value
        if named and not os.access(expanded(value), os.R_OK):
            yield Finding("error", at, "this file cannot be read")


def _texts(struct: msgspec.Struct, path: str) -> Iterator[tuple[str, str]]:
    """(place, text) of every text in a stage's fields and groups of fields."""
    for field in msgspec.structs.fields(type(struct)):
        value, at = getattr(struct, field.name), join(path, field.encode_name)
        if isinstance(value, msgspec.Struct) and not isinstance(value, When):
            yield from _texts(value, at)
        elif isinstance(value, str | Path):
            yield at, str(value)


def _endpoints(sink: Sink, path: str) -> Iterator[Finding]:
    """The hosts of URLs must have an address."""
    for at, value in _texts(sink, path):
        url = _url(value)
        if url is not None and (why := _unresolvable(url)):
            yield Finding("error", at, f"its host has no address: {why}")


def _url(value: str) -> SplitResult | None:
    try:
        url = urlsplit(value)
    except ValueError:
        return None
    return url if url.scheme in _SCHEMES and url.hostname else None


def _unresolvable(url: SplitResult) -> str:
    """Why the host's address is not to be had; empty where it is.

    On a thread of its own, which is left behind where the resolver does not answer.
    """
    failures = [f"no answer within {RESOLVE_S:g} s"]

    def resolve() -> None:
        try:
            socket.getaddrinfo(url.hostname, None, type=socket.SOCK_STREAM)
            failures.clear()
        except OSError as error:
            failures[:] = [error.strerror or "it cannot be resolved"]
        except UnicodeError:
            failures[:] = ["it is no host name"]

    thread = threading.Thread(target=resolve, daemon=True)
    thread.start()
    thread.join(RESOLVE_S)
    return "".join(failures)
