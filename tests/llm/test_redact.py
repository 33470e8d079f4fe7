import base64
import html
import json
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, quote_plus

import pytest

from aether.redact import Mask, learn, redact, redact_known
from aether.spellings import FEW, Finder
from tests.llm.conftest import settings_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://h.test/m?alt=x&key=AIzaQ1&v=2", "GET https://h.test/m?alt=x&key=***&v=2"),
        ("postgresql://me:hunter2@db.test/x", "postgresql://me:***@db.test/x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("{'x-api-key': 'abcd1234'}", "{'x-api-key': '***'}"),
        (r"{\"x-api-key\": \"abcd1234\"}", r"{\"x-api-key\": \"***\"}"),
        (r"{\"Authorization\": \"Basic dXNlcjpwYXNz\"}", r"{\"Authorization\": \"Basic ***\"}"),
        (r'"{\\\"apiKey\\\":\\\"abcd1234\\\"}"', r'"{\\\"apiKey\\\":\\\"***\\\"}"'),
        (r'{"private-token": "abc\/def\u0026ghi"}', '{"private-token": "***"}'),
        (r'{"authorization": "Basic abc\/def=="}', '{"authorization": "Basic ***"}'),
        ("PRIVATE-TOKEN: glpat-1234567890", "PRIVATE-TOKEN: ***"),
        ("sent Bearer abc.def-ghi", "sent Bearer ***"),
        ("used ghp_0123456789abcdef!", "used ***!"),
        ("Incorrect API key provided: sk-proj-1234.", "Incorrect API key provided: ***"),
        ("a risk-averse, task-based plan", "a risk-averse, task-based plan"),
        ("the primary key=5 is taken", "the primary key=5 is taken"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_every_configured_secret_and_each_part_of_a_list_is_masked() -> None:
    settings = settings_of(
        github_token="plain-words-token",
        github_webhook_secret="first-secret, second-secret",
        jira_api_token="p@ss/word+1",
    )
    text = "plain-words-token first-secret second-secret p@ss/word+1 p%40ss%2Fword%2B1"

    assert redact(text, settings) == "*** *** *** *** ***"


def test_a_providers_key_from_the_environment_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "wordsthatlookharmless")

    assert redact("key wordsthatlookharmless refused") == "key *** refused"


def test_a_private_key_is_masked_whole_and_by_line() -> None:
    line = "MIIEowIBAAKCAQEA0123456789abcdefghijklmnopqrstuv"
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{line}\n-----END RSA PRIVATE KEY-----"
    settings = settings_of(github_app_private_key=pem)

    assert redact(f"loaded {pem}.") == "loaded ***."
    assert redact(f"bad line {line}", settings) == "bad line ***"


STORED = 'p@ss"w\\ord/+ &1\u00e9\u2026'


def in_base64(before: str, after: str) -> str:
    return base64.b64encode(f"{before}{STORED}{after}".encode()).decode()


@pytest.mark.parametrize(
    "quoted",
    [
        STORED,
        quote(STORED),
        quote(STORED, safe=""),
        quote(STORED, safe="").lower(),
        quote_plus(STORED),
        json.dumps(STORED),
        json.dumps(STORED, ensure_ascii=False),
        html.escape(STORED),
        STORED.upper(),
        STORED.lower(),
        STORED.swapcase(),
    ],
)
@pytest.mark.parametrize("taken_out", [redact, redact_known])
def test_a_secret_is_known_however_programs_quote_it(
    quoted: str, taken_out: Callable[[str], str]
) -> None:
    learn([STORED])

    assert taken_out(f"it said <{quoted}>.") in {"it said <***>.", 'it said <"***">.'}


SPELT: Final = {
    "PHP's JSON": r"""h7Q/k&<c\"r'+t==""".replace("/", r"\/"),
    "Go's and Rails' JSON": r"""h7Q/k\u0026\u003cc\"r'+t==""",
    "Gson": r"""h7Q/k\u0026\u003cc\"r\u0027+t\u003d\u003d""",
    "PHP's JSON for HTML": r"""h7Q\/k\u0026\u003Cc\"r'+t==""",
    ".NET's JSON": r"""h7Q/k\u0026\u003Cc\u0022r\u0027\u002Bt==""",
    "JSON in JSON": r"""h7Q/k&<c\\\"r'+t==""",
    "Go's JSON in JSON": r"""h7Q/k\\u0026\\u003cc\\\"r'+t==""",
    "PHP's JSON in PHP's": r"""h7Q\\\/k&<c\\\"r'+t==""",
    "JSON in JSON in JSON": r"""h7Q/k&<c\\\\\\\"r'+t==""",
    "a shell": r"""h7Q/k&<c"r'\''+t==""",
    "a shell in JSON": r"""h7Q/k&<c\"r'\\''+t==""",
    "HTML in JSON": r"""h7Q/k&amp;&lt;c\"r'+t==""",
    "Python's repr": r"""h7Q/k&<c"r\'+t==""",
    "JavaScript's component": "h7Q%2Fk%26%3Cc%22r'%2Bt%3D%3D",
    "JavaScript's address": "h7Q/k&%3Cc%22r'+t==",
    "an address in an address": "h7Q%252Fk%2526%253Cc%2522r%2527%252Bt%253D%253D",
    "XML": "h7Q/k&amp;&lt;c&quot;r&apos;+t==",
    "a text of HTML": """h7Q/k&amp;&lt;c"r'+t==""",
    "Jinja": "h7Q/k&amp;&lt;c&#34;r&#39;+t==",
    "Rails' HTML": "h7Q/k&amp;&lt;c&quot;r&#39;+t==",
    "Go's HTML": "h7Q/k&amp;&lt;c&#34;r&#39;&#43;t==",
    "Mustache": "h7Q&#x2F;k&amp;&lt;c&quot;r&#39;+t&#x3D;&#x3D;",
}
"""``h7Q/k&<c"r'+t==``"""


@pytest.mark.parametrize("writer", SPELT)
@pytest.mark.parametrize("taken_out", [redact, redact_known])
def test_a_secret_is_known_as_other_languages_write_it(
    writer: str, taken_out: Callable[[str], str]
) -> None:
    learn(["h7Q/k&<c\"r'+t=="])

    assert taken_out(f"it said <{SPELT[writer]}>.") == "it said <***>."


def test_base64_is_known_within_an_address_and_within_json() -> None:
    learn(["p/~>?secret>>>???"])
    told = base64.b64encode(b"p/~>?secret>>>???").decode()

    assert told == "cC9+Pj9zZWNyZXQ+Pj4/Pz8="
    assert redact_known(quote(told, safe="")) == "***8%3D"
    assert redact_known(told.replace("/", "\\/")) == "***8="


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "bot@example.com:"])
@pytest.mark.parametrize("after", ["", "x", "yz", "\n"])
def test_of_base64_that_holds_a_secret_no_more_than_its_ends_are_left(
    before: str, after: str
) -> None:
    learn([STORED])
    whole = in_base64(before, after)

    for told in (whole, whole.replace("+", "-").replace("/", "_")):
        left = redact_known(f"Basic {told}")
        start, mask, end = left.partition("***")
        assert mask
        assert len(start.removeprefix("Basic ")) <= len(before) * 4 // 3 + 2
        assert len(end) <= len(after) * 4 // 3 + 4


def test_secrets_that_overlap_leave_nothing_of_either() -> None:
    learn(["abcdefgh123", "gh123xyz9876"])

    assert redact_known("<abcdefgh123xyz9876>") == "<***>"
    assert redact_known("<gh123xyz9876abcdefgh123>") == "<******>"


def test_a_word_is_not_taken_out_of_what_people_say_in_any_case() -> None:
    learn(["Changeme"])

    assert redact_known("please changeme, CHANGEME, Changeme") == (
        "please changeme, CHANGEME, Changeme"
    )


@pytest.mark.parametrize("many", [1, FEW + 1])
def test_however_many_secrets_there_are_each_is_found(many: int) -> None:
    wanted = [f"secret-{number:05d}-of-many" for number in range(many)]

    masked = Finder(wanted).masked(f"a {wanted[-1]} b {wanted[0]}", "***")

    assert masked == "a *** b ***"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_quoted_secret_is_found_wherever_a_stream_is_cut(size: int) -> None:
    learn([STORED])
    text = f"a {json.dumps(STORED)} b {in_base64('user:', '')} c"
    mask = Mask()

    told = "".join(mask.feed(text[at : at + size]) for at in range(0, len(text), size))
    told += mask.end()

    assert told == redact_known(text)
    assert told.count("***") == 2


def test_what_is_forgotten_and_learnt_anew_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact_known("first-one-1 second-one-2 third-one-3") == (
        "first-one-1 second-one-2 third-one-3"
    )
    learn(["first-one-1"])
    assert redact_known("first-one-1 second-one-2 third-one-3") == "*** second-one-2 third-one-3"
    monkeypatch.setenv("MY_API_KEY", "second-one-2")
    settings = settings_of(github_token="third-one-3")
    assert redact_known("first-one-1 second-one-2 third-one-3", settings) == "*** *** ***"


def test_the_password_of_a_proxy_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:pass%40word-77@proxy.example:3128")

    told = redact_known("407 for pass@word-77, pass%40word-77, " + in_basic("ann:pass@word-77"))

    assert told == "407 for ***, ***, YW5uOn***w=="


def in_basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_each_secret_of_a_list_in_the_environment_is_known_without_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "old-one-of-a-list, new-one-of-a-list")

    assert redact_known("old-one-of-a-list; new-one-of-a-list.") == "***; ***."
