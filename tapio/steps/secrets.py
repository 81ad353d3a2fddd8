"""What a secret looks like in a command line, a URL or a header, and how it is hidden.

Secrets are rare, so nearly all of the work is to see that there is none. Texts that hold much
are sieved by one RE2 expression (0.2 ms, then 2.7 ns a byte); few texts by looking for
lower-case marks (0.5 ns a byte and mark). What is left is looked at one distinct text at a
time: compiling the forms for RE2, as pyarrow does at each call, would take milliseconds.

The time is linear in the text, whatever it is: loops are possessive or bounded. Arguments stand
one behind another, a space or NUL between them, so a secret that itself holds spaces is hidden
up to the first, unless it is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute

from tapio.steps import named
from tapio.steps.named import HIDDEN

pc: Any = pyarrow.compute  # makes its functions at import, where no type checker sees them

_FEW_BYTES = 4096
"""Below this, looking for the marks one by one costs less than compiling an expression."""


class Form(NamedTuple):
    """One form of secret, and two ways to see from afar that a text does not hold it.

    ``hide`` changes a text only where one of ``marks`` stands in its lower case, and where
    ``hint`` (RE2, without regard to case) matches.
    """

    marks: tuple[str, ...]
    hint: str
    hide: Callable[[str], str]


def _form(marks: str, hint: str, pattern: str, shown: str = rf"\1{HIDDEN}") -> Form:
    """A form by expression; ``marks`` are parted by ``|``."""
    compiled = re.compile(pattern, re.ASCII | re.DOTALL | re.VERBOSE)
    return Form(tuple(marks.split("|")), hint, partial(compiled.sub, shown))


def _command(names: str, pattern: str) -> Form:
    """A form that holds behind one of the commands ``names`` only."""
    command = re.compile(names)
    option = re.compile(pattern, re.ASCII | re.VERBOSE)

    def hide(text: str) -> str:
        found = command.search(text)
        at = found.end() if found else len(text)
        return text[:at] + option.sub(rf"\1{HIDDEN}", text[at:])

    return Form(tuple(names.split("|")), rf"(?:{names}).*[\s\x00]-", hide)


_LOGIN = r"//[^\s\x00/]*:[^\s\x00/]*[^\s\x00/\d]"
"""Behind // a colon that no mere port follows."""

FORMS = (
    _form(
        "private key",
        "private key",
        r"""-----BEGIN\ [A-Z0-9\ ]{0,40}?PRIVATE\ KEY(?:\ BLOCK)?-----.*?
        (?:-----END\ [A-Z0-9\ ]{0,40}?PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)""",
        HIDDEN,
    ),
    _form(  # keys that say what they are; a JWT's header is bounded to keep the time linear
        "akia|asia|abia|acca|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-|xox|xapp-|aiza|ya29."
        "|k_live_|k_test_|npm_|pypi-|sg.|hvs.|hvb.|hvr.|dop_v1_|dckr_pat_|age-secret-key-|sk-"
        "|eyj|hooks.slack.com/",
        r"a[ksb]ia[a-z0-9]|acca[a-z0-9]|gh[pousr]_|_pat_|glpat-|xox[a-z]-|xapp-|aiza|ya29"
        r"|k_(?:live|test)_|npm_|pypi-|\bsg\.|\bhv[sbr]\.|dop_v1_|age-secret|\bsk-|\beyj"
        r"|hooks\.slack",
        r"""\b(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16} | gh[pousr]_\w{20,} | github_pat_\w{20,}
        | glpat-[\w\-]{16,} | xox[a-z]-[\w\-]{10,} | xapp-[\w\-]{10,} | AIza[\w\-]{30,}
        | ya29\.[\w\-]{10,} | [rsp]k_(?:live|test)_\w{10,} | npm_\w{30,} | pypi-[\w\-]{16,}
        | SG\.[\w\-]{16,64}\.[\w\-]{16,} | hv[sbr]\.[\w\-]{20,} | dop_v1_\w{32,}
        | dckr_pat_[\w\-]{20,} | AGE-SECRET-KEY-\w{20,} | sk-[\w\-]{20,}
        | eyJ[\w\-]{6,2000}\.[\w\-]{6,}[\w\-.]* | hooks\.slack\.com/[\w\-/]{16,})""",
        HIDDEN,
    ),
    Form(named.MARKS, named.HINT, named.hide_named),
    _form("bearer", r"bearer[\s\x00]", r"(\b(?i:bearer)[\s\x00]++) [A-Za-z0-9][\w.~+/=\-]{5,}"),
    _form(  # base64 has capitals or digits inside, a word of prose has not
        "basic",
        r"basic[\s\x00]",
        r"(\b(?i:basic)[\s\x00]++) [A-Za-z0-9+/]+[A-Z0-9][A-Za-z0-9+/]{2,}=*",
    ),
    _form("@", _LOGIN, r"""(//[^\s\x00/?\#:"'\[]*+:)[^\s\x00/"]+@""", rf"\1{HIDDEN}@"),
    _form(  # the text was cut inside user:password@, for a port has digits only
        "//",
        _LOGIN,
        r"""(//[^\s\x00/?\#:@"'\[]++:)(?!\d*+\Z)[^\s\x00/?\#@]++\Z""",
    ),
    _form("pass:", r"\bpass:", r"((?:^|[\s\x00=])pass:)[^\s\x00]++"),
    _form(
        "identified|password |password\t|password\r|password\n",
        r"(?:identified|password)[ \t\r\n]",
        r"""((?i:\b(?:identified[ \t\r\n]++(?:with\s++\w++\s++)?(?:by|as)
        |password(?:[ \t\r\n]++to)?)[ \t\r\n]++))
        (?:'(?:[^'\\]|''|\\.)*+(?:'|\Z) | "(?:[^"\\]|\\.)*+(?:"|\Z))""",
    ),
    _command(
        "curl",
        r"""(?<=[\s\x00])((?:-[a-zA-Z]{0,8}?[uU][\s\x00]*+|--(?:proxy-)?user[\s\x00=]++)
        [^\s\x00:]++:)[^\s\x00]++""",
    ),
)
"""Every form that is always looked for."""

SHORT_OPTIONS = (
    _command("mysql|mariadb", r"(?<=[\s\x00])(-p)[^\s\x00]++"),
    _command("sshpass|mongo|docker login|docker\0login", r"(?<=[\s\x00])(-p[\s\x00]*+)[^\s\x00]++"),
    _command("redis-cli", r"(?<=[\s\x00])(-a[\s\x00]++)[^\s\x00]++"),
    _command("ldap", r"(?<=[\s\x00])(-w[\s\x00]*+)[^\s\x00]++"),
)
"""``mysql -pSECRET``, ``sshpass -p SECRET``: letters that mean other things elsewhere."""


class Hider:
    """Hides secrets of ``forms`` in arrays of texts."""

    def __init__(self, forms: tuple[Form, ...] = FORMS) -> None:
        self._forms = [(form.marks, form.hide) for form in forms]
        self._marks = tuple({mark.encode() for form in forms for mark in form.marks})
        self._hints = "(?is)" + "|".join(dict.fromkeys(form.hint for form in forms))

    def texts(self, texts: pa.Array) -> pa.Array:
        """``texts`` (string or binary, nulls stay) without secrets; itself if it has none."""
        suspicious = self._suspicious(texts)
        some = texts.filter(suspicious).to_pylist()
        clean = [self._value(value) for value in some]
        if clean == some:
            return texts
        return pc.replace_with_mask(texts, suspicious, pa.array(clean, texts.type))

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        lower = text.lower()
        for marks, hide in self._forms:
            for mark in marks:
                if mark in lower:
                    text = hide(text)
                    break
        return text

    def _suspicious(self, texts: pa.Array) -> pa.Array:
        """Which texts have to be looked at."""
        whole = _whole(texts)
        if len(whole) >= _FEW_BYTES:
            return pc.fill_null(pc.match_substring_regex(texts, self._hints), False)
        lower = bytes(whole).lower()
        if any(mark in lower for mark in self._marks):
            return texts.is_valid()
        return pa.repeat(False, len(texts))

    def _value(self, value: str | bytes) -> str | bytes:
        if isinstance(value, str):
            return self.text(value)
        return self.text(value.decode("latin-1")).encode("latin-1")


def _whole(texts: pa.Array) -> memoryview:
    """The bytes of all texts, one behind another."""
    _, offsets, data = texts.buffers()
    if data is None or len(texts) == 0:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[int(ends[texts.offset]) : int(ends[texts.offset + len(texts)])]
