"""What holds for every test: both event loops, no leaks, and in CI no skips."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Generator, Iterator, Mapping

import pytest
import uvloop
from hypothesis import settings

settings.register_profile("tapio", deadline=None)
settings.load_profile("tapio")  # a time limit a test is pytest's; an example's would measure load

IN_CI = bool(os.environ.get("CI"))

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs once on each loop."""
    return LOOPS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The kernel is one, and so are the ports of a real server: such tests share a worker."""
    for item in items:
        for name in ("kernel", "system"):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.xdist_group(name))


def pytest_collection_finish() -> None:
    """What collection has made stays for ever: not looking at it again makes gc cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What a test leaves behind, a ticket unsettled or a file open, fails that test."""
    yield
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that cannot run has failed."""
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a file that cannot be collected has failed."""
    report = yield
    refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where ``CI`` is set; an expected failure is none."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"in CI every test runs, and this one did not: {reason}"
