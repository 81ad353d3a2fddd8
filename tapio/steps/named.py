"""Secrets that stand behind a telling name: ``--password=…``, ``token: …``, ``?sig=…``.

One pass over a text: a name, what separates it from its value, and then the value, which ends
where its surroundings say: at ``&`` in a query, at ``;`` or ``,`` in a list, at the closing
quote in JSON, else where the argument ends. Where a text can be read in two ways, the reading
that hides more is taken.

The time is linear in the text: every loop is possessive, names begin at word starts only, and
the search goes on behind a value that was hidden.
"""

from __future__ import annotations

import re
from itertools import product

HIDDEN = "[redacted]"
"""What stands in a secret's place; it is never changed again."""

_ENDS = (
    *("pass", "passwd", "password", "passphrase", "pwd", "secret", "token", "credential"),
    *("credentials", "cookie", "key", "auth", "authorization", "sig", "signature", "jwt"),
    *("assertion", "sessionid", "session_id", "session-id", "verifier", "salt", "seed", "hmac"),
)
"""How every name ends that may tell of a secret."""

MARKS = (
    *("pass", "pwd", "secret", "token", "credential", "cookie", "key", "auth", "sig=", "sig%"),
    *("signature", "jwt", "assertion", "session", "verifier", "salt", "seed", "hmac"),
)
HINT = rf"(?:{'|'.join(_ENDS)})[=:%\s\x00\"'\\]"
"""In a text without any of ``MARKS``, or that ``HINT`` does not match, nothing is hidden."""

_KEYS = (
    *("api", "access", "auth", "account", "secret", "private", "encryption", "signing"),
    *("shared", "master"),
)
_ALWAYS = (
    *("password", "passwd", "passphrase", "secret", "token", "credential", "credentials"),
    *("cookie", "authorization"),
    *(f"{whose}{joint}key" for whose, joint in product(_KEYS, ("", "_", "-"))),
    *(f"{joint}{word}" for word, joint in product(("pass", "pwd"), "_.-")),
)
"""Ends of names whose value is a secret wherever they stand; ``token-ttl`` ends otherwise."""

_PARAMETERS = frozenset(
    (
        *("key", "sig", "signature", "auth", "jwt", "assertion", "verifier", "pwd", "pass"),
        *("sessionid", "jsessionid"),
    )
)
"""Last words of names that hold a secret in a query, and too often none elsewhere."""

_KEY_LIKE = frozenset(("key", "salt", "seed", "hmac"))
"""Last words of names whose value is a secret where it is a long number in hex or base64."""

_TIGHT = ("password", "passwd", "private-token", "api-key", "apikey", "authorization", "cookie")
"""Headers known without a space behind the colon; ``my/token:latest`` is a container image."""

_NAMED = re.compile(
    r"""(?<![\w.\-])(?P<name>(?P<dash>-)?[\w.\-]++)
    (?P<between>=|\s++=>?\s++|(?P<quote>\\?["'])\s*+(?::|=>?)\s*+|:[ \t]*+|%3[dD]
    |(?P<gap>(?(dash)[\s\x00]++|(?!))))""",
    re.ASCII | re.VERBOSE,
)
_JOINT = re.compile(r"[_.\-]")
_QUOTED = r""" "(?:[^"\\\x00]|\\.)*+" | '[^'\x00]*+' """
_WORD = r"""(?:="[^"]*+"|[^\s\x00"'])++"""


def _value(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII | re.VERBOSE | re.DOTALL)


_ARGUMENT = _value(rf"(?:\\[^\s\x00] | {_QUOTED} | [^\s\x00])++")
_NEXT = _value(  # what looks like the next option is no value
    rf"""(?!-(?:-[a-z][a-z0-9\-]*+)?(?:[=\s\x00]|\Z) | -[A-Za-z](?:[\s\x00]|\Z))
    (?:\\[^\s\x00] | {_QUOTED} | [^\s\x00])++"""
)
_LISTED = _value(rf"(?:\\[^\s\x00] | {_QUOTED} | [^;,\s\x00])++")
_QUERIED = _value(r'[^&\s\x00"]++')
_ENCODED = _value(r'(?:[^&\s\x00"%] | %(?!26))++')
_JSON = _value(  # the group is what is hidden; a quote that nothing closes hides all that follows
    r""" "((?:[^"\\]|\\.)*+)" | \\"([^"]*?)\\?" | '((?:[^'\\]|\\.)*+)' | (["'\\].*+)
    | (\[(?:"(?:[^"\\]|\\.)*+(?:"|\Z)|[^\]"])*+(?:\]|\Z)) | ([^\s\x00,}\]{\["'\\][^\s\x00,}\]]*+)"""
)
_AUTHORIZATION = _value(  # a scheme and its words, an unknown scheme and a word, or a word
    rf"""(?i:bearer|basic|digest|token|negotiate|ntlm|hawk|oauth|apikey|api-key|key|jwt|dpop|
    splunk|aws4-hmac-sha256)[ \t]++({_WORD}(?:(?<=,)[ \t]++{_WORD})*+)
    | ([A-Za-z\-]{{2,20}}+[ \t]++{_WORD}) | ({_WORD})"""
)
_COOKIES = _value(rf"{_WORD}(?:(?<=;)[ \t]++{_WORD})*+")
_NUMBER = _value(r"""\\?["']?([0-9A-Fa-f][0-9A-Fa-f\-]{15,}+ | [A-Za-z0-9+/]{20,}+={1,2})""")


def hide_named(text: str) -> str:
    """``text`` with each value that belongs to a telling name replaced by ``HIDDEN``."""
    parts, done = [], 0
    for found in _NAMED.finditer(text):
        name = found[1].lower()
        if not name.endswith(_ENDS) or found.start() < done:
            continue
        before = text[found.start() - 1] if found.start() else ""
        pattern = _pattern(found, name, before)
        value = pattern.match(text, found.end()) if pattern else None
        if value:
            start, end = value.span(value.lastindex or 0)
            if start < end:
                parts += [text[done:start], HIDDEN]
                done = end
    return "".join([*parts, text[done:]]) if parts else text


def _pattern(found: re.Match[str], name: str, before: str) -> re.Pattern[str] | None:
    """How the value behind a name ends; None where the name does not tell of a secret."""
    between = found["between"]
    if between[0] == "%" and before == "%":
        name = name[2:]  # %26token%3D: the name begins behind the coded & or ?
    if not name.endswith(_ALWAYS) and name != "pass":
        return _less_telling(found, name, before)
    if found["quote"]:
        return _JSON
    if between[0] == ":" and len(between) == 1 and not name.endswith(_TIGHT) and name[:2] != "x-":
        return None
    if name.endswith("authorization"):
        return _AUTHORIZATION
    if name.endswith("cookie") and between[0] == ":":
        return _COOKIES
    return _NEXT if found["gap"] else _assigned(found, before)


def _less_telling(found: re.Match[str], name: str, before: str) -> re.Pattern[str] | None:
    """The same for names that tell only where they stand, or by what the value looks like."""
    between = found["between"]
    last = _JOINT.split(name)[-1]
    parameter = last in _PARAMETERS or name.endswith(("session_id", "session-id"))
    if parameter and (between[0] == "%" or between == "="):
        in_query = before in ("?", "&", "#", ";", ",", "%") or not before
        if in_query and not found["dash"] and (before or last != "pwd"):
            return _assigned(found, before)
    if found["name"].isupper() and between == "=" and name.endswith(("_key", "_auth")):
        return _ARGUMENT
    if name.startswith("x-") and between[0] == ":" and last in ("key", "auth", "signature"):
        return _ARGUMENT
    return _NUMBER if last in _KEY_LIKE else None


def _assigned(found: re.Match[str], before: str) -> re.Pattern[str]:
    """How a value behind = or %3D ends, by what stands before the name."""
    if found["between"][0] == "%":
        return _ENCODED
    if before and before in ";,":
        return _LISTED
    if before and before in "?&#":
        return _QUERIED
    bare = not before and not found["dash"] and not found["name"].isupper()
    return _QUERIED if bare and found["between"] == "=" else _ARGUMENT
