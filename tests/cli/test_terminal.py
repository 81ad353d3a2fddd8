"""What a terminal gets: its encoding, and no text that commands it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.cli.terminal import escaped, unicode


@given(st.text())
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    """No control character is left, and escaping twice changes nothing more."""
    safe = escaped(text)
    assert all(ord(c) >= 32 and not 0x7F <= ord(c) <= 0x9F for c in safe)
    assert not set(safe) & set("\u2028\u2029\u202e\u2066\ud800")
    assert len(safe.splitlines()) <= 1
    assert escaped(safe) == safe


def test_what_is_harmless_stays() -> None:
    """Letters of any script are not touched."""
    assert escaped("Grüße, 世界 🙂 \\n") == "Grüße, 世界 🙂 \\n"


@pytest.mark.parametrize(
    ("environ", "can"),
    [
        ({}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # Python's own doing
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "de_DE.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "en_US.utf8"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "C"}, False),
    ],
)
def test_the_locale_says_whether_a_terminal_shows_unicode(
    environ: dict[str, str], can: bool
) -> None:
    """By the order of POSIX, whatever Python has made of it."""
    assert unicode(environ) is can


SAY = "from tapio.cli import terminal; terminal.prepare(); print('caf\\u00e9 \\udc80')"


@pytest.mark.parametrize(
    ("locale", "said"),
    [
        ({"LANG": "C"}, b"caf\\xe9 \\udc80\n"),
        ({"LC_ALL": "C"}, b"caf\\xe9 \\udc80\n"),
        ({"LC_ALL": "C.UTF-8"}, "café \\udc80\n".encode()),
    ],
)
def test_any_text_can_be_printed(locale: dict[str, str], said: bytes) -> None:
    """What the locale cannot show is printed as its code."""
    bare = {k: v for k, v in os.environ.items() if k not in ("LANG", "LC_ALL", "LC_CTYPE")}
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=bare | locale, capture_output=True, check=True
    )
    assert done.stdout == said


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    """Stdout or stderr may be closed from the start."""
    line = f"{sys.executable} -m tapio --version {closed}"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
