"""What the tests of sources share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sources.hosts import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host root with an empty process table."""
    return Host(tmp_path)
