"""The command line: what it imports, what it says of faults, and with which exit code."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tapio.cli import boundary
from tapio.cli.boundary import Boundary, NoPrivilegeError, UsageError
from tapio.cli.lock import locked
from tapio.cli.main import COMMANDS, main
from tapio.config import ConfigErrors
from tapio.model.errors import ConfigError, KernelError, Rejected


def tapio(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tapio", *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_teaches() -> None:
    """Every command has a line, and there are examples and all exit codes."""
    done = tapio("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, line in COMMANDS.items():
        assert f"{name} " in done.stdout
        assert line in done.stdout
    assert "examples:" in done.stdout
    for code in ("0 ", "1 ", "2 ", "77", "78", "130"):
        assert f"\n  {code} " in done.stdout


def test_every_command_has_help() -> None:
    """Each says how it is used, with what stands in the list of commands."""
    for name in COMMANDS:
        done = tapio(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: tapio {name} ")


def test_help_and_version_import_no_command() -> None:
    """What is not asked for is not imported: no loop, no server, no exporter."""
    heavy = [
        "asyncio",
        "aiohttp",
        "rich",
        "opentelemetry.sdk",
        "yaml",
        "uvloop",
        "tapio.engine",
        "tapio.cli.run",
    ]
    look = f"import sys; print([m for m in {heavy} if m in sys.modules])"
    for word in ("--help", "--version"):
        program = (
            "import sys, contextlib, io; from tapio.cli.main import main\n"
            "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
            f"    main(['{word}'])\n{look}"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"


def test_version_says_what_a_report_should_name() -> None:
    """Tapio, Python, loop, libbpf and kernel."""
    done = tapio("--version")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == ["tapio", "python", "loop", "libbpf", "kernel"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shwo"], "no command 'shwo': did you mean 'show'?"),
        (["xyz"], "no command 'xyz': there are run, init, validate"),
        (["run", "--frobnicate"], "unrecognized arguments: --frobnicate; see `tapio run --help`"),
        (["--for", "ten"], "'ten' is no duration; say 500ms, 10s, 2m or 1h"),
        (["--for", "0s"], "no duration"),
        (["run", "-c", "a", "--profile", "b"], "not allowed with"),
        (["--loop", "trio"], "invalid choice: 'trio'"),
        (["--listen", "9464"], "say ADDR:PORT, as in 127.0.0.1:9464, or off"),
        (["--listen", "::1:99999"], "say ADDR:PORT"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(words: list[str], said: str) -> None:
    """The sentence says what is wrong and where help is."""
    done = tapio(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.startswith("tapio: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("bad", path="a.b", file="x.yaml", line=3), 78, "tapio: x.yaml:3: a.b: bad\n"),
        (
            ConfigErrors((ConfigError("one"), ConfigError("two"))),
            78,
            "tapio: one\ntapio: two\n",
        ),
        (KernelError("no BTF"), 1, "tapio: no BTF\n"),
        (NoPrivilegeError("CAP_BPF is missing"), 77, "tapio: CAP_BPF is missing\n"),
        (UsageError("say X"), 2, "tapio: say X\n"),
        (OSError(28, "No space left on device", "/x"), 1, "tapio: /x: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
        (Rejected("a\x1b[2Jb"), 1, "tapio: a\\x1b[2Jb\n"),
        (
            ExceptionGroup("", [KernelError("a"), ExceptionGroup("", [ConfigError("b")])]),
            78,
            "tapio: a\ntapio: b\n",
        ),
        (ExceptionGroup("", [KernelError("a"), KernelError("a")]), 1, "tapio: a\n"),
    ],
)
def test_an_error_is_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence an error, groups unwrapped, no traceback."""
    with Boundary() as edge:
        raise error
    assert edge.code == code
    assert capsys.readouterr().err == said


def test_a_bug_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sentences, exit 1; the file is private, is named, and does not grow for ever."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(boundary, "MAX_LOG", 2_000)
    for _ in range(20):
        with Boundary() as edge:
            raise ZeroDivisionError("planted")
        assert edge.code == 1
    said = capsys.readouterr().err
    (path,) = (tmp_path / "tapio").iterdir()
    assert "tapio: ZeroDivisionError: planted\n" in said
    assert f"the traceback is in {path}" in said
    assert "Traceback" not in said
    assert "test_main.py" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 4_000


def test_the_traceback_is_written_through_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's link in a folder that all may write to is not followed."""
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/no/such")
    monkeypatch.setattr(boundary.tempfile, "gettempdir", lambda: str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f"tapio-{os.getuid()}-errors.log").symlink_to(victim)
    with Boundary():
        raise ZeroDivisionError("planted")
    assert victim.read_text() == "mine"
    assert "shown with --debug" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, for errors of any kind, and then no file is needed."""
    with Boundary(debug=True) as edge:
        raise ConfigError("bad")
    said = capsys.readouterr().err
    assert edge.code == 78
    assert said.startswith("tapio: bad\nTraceback")


def test_two_agents_cannot_have_one_folder(tmp_path: Path) -> None:
    """The second is told who has it; when the first has gone the folder is free."""
    with locked(tmp_path / "state"):
        with pytest.raises(ConfigError) as raised, locked(tmp_path / "state"):
            pass
        assert f"another tapio (process {os.getpid()}) uses" in str(raised.value)
        assert "--state-dir" in str(raised.value)
    with locked(tmp_path / "state"):
        assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place, a read-only place, a file system without locks: what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no state can be kept"), locked(tmp_path / "file"):
        pass
    with pytest.raises(ConfigError, match="no state can be kept"), locked(Path("/proc/tapio")):
        pass

    def no_locks(*words: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(ConfigError, match="cannot be locked: No locks"), locked(tmp_path):
        pass


def test_a_command_line_without_a_command_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    """``tapio --for`` is ``tapio run --for``."""
    with pytest.raises(SystemExit) as raised:
        main(["--for"])
    assert raised.value.code == 2
    assert "see `tapio run --help`" in capsys.readouterr().err
