"""Planted secrets do not survive, nothing else is touched, and no text takes long."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.steps.named import HIDDEN
from tapio.steps.secrets import FORMS, SHORT_OPTIONS, Hider

HIDER = Hider((*SHORT_OPTIONS, *FORMS))

ALNUM = string.ascii_letters + string.digits
PRINTABLE = "".join(chr(c) for c in range(33, 127)) + "äß€😀"
TOKEN68 = ALNUM + "-._~+/"


def secrets(alphabet: str, size: int = 12) -> st.SearchStrategy[str]:
    """Texts long enough that they do not stand in a line by chance."""
    return st.text(alphabet, min_size=size, max_size=40)


def without(*characters: str) -> str:
    """Printable characters but some."""
    return "".join(c for c in PRINTABLE if c not in characters)


def shaped(start: str, alphabet: str = ALNUM, size: int = 40) -> st.SearchStrategy[str]:
    """A key that says by its start what it is; put together here, so that none is in the file."""
    return st.text(alphabet, min_size=size, max_size=size).map(lambda rest: start + rest)


def in_json(text: str) -> str:
    """``text`` as it stands between the quotes of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


ANY, PARAMETER, PASSWORD = (
    secrets(PRINTABLE),
    secrets(without("&", '"')),
    secrets(without("/", '"')),
)
SPACED = st.text(PRINTABLE + "  ", min_size=12, max_size=40)

PLAIN = (
    *("--password={}", "--db-password={}", "-Ddb.password={}", "--client-secret={}", "--apiKey={}"),
    *("--password {}", "--auth-token {}", "-token {}", "--pass {}", "--http-passwd {}"),
    *("DB_SECRET={}", "env PGPASSWORD={}", "-e STRIPE_KEY={}", "export MY_AUTH={}"),
    *("--env=API_TOKEN={}", "--from-literal=password={}", "--set db.password={}"),
    *("password = {}", "-o user=a,password={},uid=1", "Server=x;Pwd={};Db=y", "AccountKey={}"),
    *("https://h/p?token={}&x=1", "/p?x=1&sig={}&y=2", "/cb#access_token={}", "?api_key={}"),
    *("/p?X-Amz-Signature={}&x=1", "/p?x=1&key={}", "/p?jwt={}", "/p?session_id={}&a=b"),
    *("/go?to=http%3A%2F%2Fh%3Ftoken%3D{}%26x%3D1", "/go?to=%2Fh%3Fa%3Db%26sig%3D{}&x=1"),
    *("postgres://bob:{}@db/x", "redis://:{}@cache:6379/0", "//bob:{}@h", "https://a@b.c:{}@h/x"),
    *("-H 'Authorization: Bearer {}' -v", "Authorization: {}", "authorization=Basic {}"),
    *("Proxy-Authorization: Token {}", "bearer {}", "Cookie: {}"),
    *("X-Auth-Token:{}", "X-Api-Key: {}", "X-Hub-Signature: {}", "Private-Token: {}"),
    *('{{"password":"{}","user":"bob"}}', "{{'token': '{}'}}", '{{"secret" => "{}"}}'),
    *('{{\\"password\\":\\"{}\\",\\"user\\":\\"bob\\"}}', '{{"token":{}}}', "password: {}"),
    *("curl -u bob:{} http://h:80/", "curl -sSu bob:{}", "curl --user bob:{}", "curl -Ubob:{}"),
    *("openssl enc -passin pass:{}", "mysql -p{} db", "sshpass -p {} ssh h"),
)
"""Where a secret of letters and digits stands exactly at the braces."""

NASTY = (
    *((form, ANY) for form in ("--password={}", "--set=db.password={}", "DB_SECRET={}")),
    *((form, ANY) for form in ("X-Api-Key: {}", "-e API_TOKEN={}", "curl -u bob:{}")),
    *((form, PARAMETER) for form in ("/p?token={}&x=1", "/p?x=1&key={}", "/cb#id_token={}")),
    *((form, PASSWORD) for form in ("postgres://bob:{}@db/x", "amqp://:{}@h")),
    ("/go?to=%2Fh%3Ftoken%3D{}%26x%3D1", PARAMETER.map(quote).map(quote)),
    ("--password {}", ANY.filter(lambda s: not s.startswith("-"))),
    ("--password {}", shaped("-", ALNUM + "-_").filter(lambda s: s[1] != "-")),
    ("--password {}", shaped("--A", ALNUM + "-_")),
    ('--password="{}"', SPACED.filter(lambda s: not {'"', "\\"} & set(s))),
    ("--password='{}'", SPACED.filter(lambda s: "'" not in s)),
    ("--token '{}'", SPACED.filter(lambda s: "'" not in s)),
    ("ALTER USER x PASSWORD '{}'", SPACED.filter(lambda s: not {"'", "\\"} & set(s))),
    ("CREATE USER x IDENTIFIED BY '{}'", SPACED.filter(lambda s: not {"'", "\\"} & set(s))),
    ('{{"user": "bob", "password": "{}", "x": 1}}', SPACED.map(in_json)),
    ('{{"auth":{{"token":"{}"}},"x":1}}', SPACED.map(in_json)),
    ('{{"secrets": 1, "secret": ["x", "{}", 5]}}', SPACED.map(in_json)),
    ('cut {{"secret": ["x", "{}', SPACED.map(in_json)),
    ("Authorization: Bearer {}", secrets(TOKEN68)),
    ("Authorization: Whatever {}", secrets(TOKEN68)),
    ("Authorization: {}", secrets(ALNUM + "+/=")),
    ("x bearer {}", shaped("A", TOKEN68)),
    ("x Basic {}", secrets(ALNUM).map(lambda s: base64.b64encode(f"Bob:{s}".encode()).decode())),
    ("x {}", st.text("ABC0123", min_size=16, max_size=16).map(lambda s: "AK" + "IA" + s)),
    ("x {}", shaped("gh" + "p_")),
    ("x {}", shaped("github" + "_pat_")),
    ("x {}", shaped("gl" + "pat-")),
    ("x {}", shaped("xo" + "xb-")),
    ("x {}", shaped("AI" + "za", ALNUM + "-_")),
    ("x {}", shaped("sk" + "_live_")),
    ("x {}", shaped("n" + "pm_")),
    ("x {}", shaped("hv" + "s.")),
    ("x {}", shaped("e" + "yJ").map(lambda s: f"{s}.{s[::-1]}.{s}")),
    ("x https://hooks.slack.com/services/{}", shaped("T", ALNUM + "/")),
    ("--key {}", secrets("0123456789abcdef", 32)),
    ("encryption.key: {}", secrets("0123456789ABCDEF", 16)),
    ("--salt={}", st.binary(min_size=31, max_size=31).map(lambda b: base64.b64encode(b).decode())),
    ("-----BEGIN RSA PRIVATE KEY----- {} -----END RSA PRIVATE KEY-----", SPACED),
    ("cut -----BEGIN OPENSSH PRIVATE KEY----- {}", SPACED),
    ('cut {{"password":"{}', SPACED.filter(lambda s: not {'"', "\\"} & set(s))),
    ("cut postgres://bob:{}", secrets(ALNUM + "!$%&*+,-;=~").filter(lambda s: not s.isdigit())),
    ("Cookie: {}", secrets(ALNUM + "=-_").map(lambda s: f"a={s}; b={s}; c={s}")),
    ("mysql -u root -p{} db", ANY),
    ("redis-cli -a {}", ANY),
)
"""Where a secret stands, and which texts it may be: what a shell, URL or header can carry there."""

CLEAN = """\
ls -la /usr/lib/python3/dist-packages
/usr/sbin/sshd -D -o AuthorizedKeysFile=/etc/ssh/keys -p 2222
kube-apiserver --tls-private-key-file=/etc/k.key --token-auth-file=/x --service-account-key-file=/y
sort --key=2,2 -t: /etc/passwd
curl -fsSL https://example.org:8443/a/b?page=2&monkey=banana -o /tmp/x
curl http://localhost:4873/@scope/package --user-agent test:1
docker run --user 1000:1000 -p 8080:80 registry:5000/my/token:latest
docker pull nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
git log --author=bob@example.com --grep=password-reset
mysql --password -h db
vault server -config /etc/vault --secret --verbose
env PWD=/srv OLDPWD=/ KEYMAP=us TOKENIZERS_PARALLELISM=false make
basic configuration of the bearer of news
tokenize --max-tokens=100 --token-ttl=5m
ssh-keygen -t ed25519 -f /etc/keys/deploy -C bob@example.com
java -Xmx2g -Djava.security.egd=file:/dev/./urandom -cp lib.jar com.example.KeyStore
http://[::1]:8080/index.html#section
nc -z http://localhost:8080
python -m http.server --bind ::1 9000
task-runner --disk-size=100 --sk-ip --desk-lamp
{"user":"bob","count":3,"token_type":"x"}
systemd-ask --keyname=x compass bypass monkey keyboard passthrough""".splitlines()

FRAGMENTS = (
    *("--password", "-p", "token", "SECRET", "api_key", "key", "Authorization", "cookie", "pass"),
    *("=", ":", " ", "  ", '"', "'", "\\", "&", "?", ";", ",", "//", "@", "%3D", "%26", "=>", "\0"),
    *("Bearer", "basic", "curl", "-u", "mysql", "identified by", "password '", "eyJ", "SG.", "\n"),
    *("-----BEGIN ", "PRIVATE KEY-----", "a", "Zz9", "-", "--x", ".", "[", "]", "{", "}", HIDDEN),
    *("abcdef0123456789", "u" * 9, "sshpass", "pass:", "http://bob:x", "ä", "x-", "auth"),
)
soup = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def hidden(text: str) -> str:
    """``text`` as a column's value comes out, alone or among much else."""
    (alone,) = HIDER.texts(pa.array([text])).to_pylist()
    among, _ = HIDER.texts(pa.array([text, "x" * 5000])).to_pylist()
    assert among == alone
    return alone


@pytest.mark.parametrize("form", PLAIN)
@settings(deadline=None, max_examples=40)
@given(secrets(ALNUM).map("a1{}".format))
def test_a_plain_secret_goes_and_nothing_else(form, secret) -> None:
    """A secret of letters and digits is replaced exactly, wherever the form stands in a line."""
    for line in (f"/bin/run -v {form} --last", form, f"sh -c {form}"):
        assert hidden(line.format(secret)) == line.format(HIDDEN)


@pytest.mark.parametrize(("form", "texts"), NASTY, ids=[form for form, _ in NASTY])
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_part_of_a_secret_survives(form, texts, data) -> None:
    """Whatever the secret is made of, no six characters of it are left behind."""
    secret = data.draw(texts)
    clean = hidden(f"/bin/run -v {form}".format(secret))
    around = form.format("")
    parts = {secret[i : i + 6] for i in range(len(secret) - 5)}
    assert [part for part in parts if part in clean and part not in around and part.strip()] == []
    assert HIDDEN in clean


@pytest.mark.parametrize("line", CLEAN)
def test_what_is_no_secret_is_not_touched(line) -> None:
    """Lines that look alike stay as they are, in few texts and in many."""
    few, many = pa.array([line]), pa.array([line] * 400)
    assert HIDER.texts(few) is few
    assert HIDER.texts(many) is many


@settings(deadline=None)
@given(soup)
def test_hiding_again_changes_nothing(text) -> None:
    """What has been hidden is not found again."""
    once = hidden(text)
    assert hidden(once) == once


@settings(deadline=None)
@given(st.lists(soup | st.none(), max_size=5))
def test_the_sieves_let_nothing_pass(texts) -> None:
    """Few texts and many, text and bytes: all come out as if every form had been tried."""
    tried = []
    for text in texts:
        hidden_text = text
        for form in (*SHORT_OPTIONS, *FORMS):
            hidden_text = None if hidden_text is None else form.hide(hidden_text)
        tried.append(hidden_text)
    few = pa.array(texts, pa.string())
    filler = ["x" * 5000]
    assert HIDER.texts(few).to_pylist() == tried
    assert HIDER.texts(pa.array(texts + filler, pa.string())).to_pylist() == tried + filler
    raw = HIDER.texts(few.cast(pa.binary())).to_pylist()
    assert [r if r is None else r.decode() for r in raw] == tried


def test_any_bytes_pass() -> None:
    """Bytes that are no UTF-8 stay what they are."""
    raw = pa.array([b"\xff\xfe --token=abc \x80", b"\xff"], pa.binary())
    assert HIDER.texts(raw).to_pylist() == [b"\xff\xfe --token=[redacted] \x80", b"\xff"]


def test_arguments_may_be_parted_by_nul() -> None:
    """A column that keeps the kernel's NUL between arguments is read alike."""
    assert hidden("run\0--token\0abc\0-v") == "run\0--token\0[redacted]\0-v"


def mixed(seed: int) -> tuple[str, str, str]:
    """A start, a unit to repeat, and an end, of random fragments."""
    rng = random.Random(seed)
    start, unit, end = ("".join(rng.choices(FRAGMENTS, k=rng.randint(1, 4))) for _ in range(3))
    return start, unit, end


NEARLY = (
    *(
        ('x token="', '\\"', ""),
        ('x token="', "\\", '"'),
        ("x token=", "'\"", ""),
        ('"secret":[', '"\\"', ""),
    ),
    *(("eyJ", "-eyJ-a", ""), ("SG.", "-SG.", ""), ("curl -", "u", ""), ("curl", " curl -u", "")),
    *(
        ("", "//a:b", ""),
        ("//", ":a", ""),
        ("", "//a@b:", "@"),
        ("cookie:", " a;", ""),
        ("", "key=", ""),
    ),
    *(("authorization: ", "a, ", ""), ("authorization: ", '="a', ""), ("", "-----BEGIN ", "")),
    *(
        ("basic ", "A", "-"),
        ("identified by '", "''", ""),
        ("password", " ", ""),
        ("-", "token ", ""),
    ),
)
"""Texts that nearly match, all the way: what makes careless expressions take quadratic time."""


@pytest.mark.parametrize(("start", "unit", "end"), [*NEARLY, *map(mixed, range(120))])
def test_no_text_takes_long(start, unit, end) -> None:
    """100 kB of anything repeated takes a fraction of a second: time grows with length alone."""
    text = (start + unit * 100_000)[:100_000] + end
    began = time.process_time()
    HIDER.text(text)
    assert time.process_time() - began < 1.5
