import pytest

from aether.redact import redact
from tests.llm.conftest import settings_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://h.test/m?alt=x&key=AIzaQ1&v=2", "GET https://h.test/m?alt=x&key=***&v=2"),
        ("postgresql://me:hunter2@db.test/x", "postgresql://me:***@db.test/x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("{'x-api-key': 'abcd1234'}", "{'x-api-key': '***'}"),
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
