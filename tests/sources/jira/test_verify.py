"""Signatures: over the received bytes, in constant time, never a crash."""

import hashlib
import hmac

import pytest

from aether.errors import SignatureError
from aether.sources.jira.verify import verify

BODY = b'{"webhookEvent":"jira:issue_created"}'
SECRET = "s3cret"


def sign(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(signature: str) -> dict[str, str]:
    return {"x-hub-signature": signature}


def test_the_vector_of_rfc_4231_verifies() -> None:
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    verify(headers(f"sha256={digest}"), b"what do ya want for nothing?", "Jefe")


def test_the_received_bytes_count_and_not_their_meaning() -> None:
    body = b'{"timestamp":  7,  "title":  "caf\\u00e9 \\/ x"}'

    verify(headers(sign(body, SECRET)), body, SECRET)
    with pytest.raises(SignatureError, match="does not match the body"):
        verify(headers(sign(body, SECRET)), '{"timestamp":7,"title":"café / x"}'.encode(), SECRET)


def test_secret_and_body_are_utf_8() -> None:
    body = '{"title":"naïve 😀 日本\u202ex"}'.encode()

    verify(headers(sign(body, "pässwörd")), body, "pässwörd")


@pytest.mark.parametrize(
    "signature",
    [
        "sha256=é\xff",
        "sha256=日本\ud800",
        "sha1=" + hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest(),
        sign(BODY, SECRET)[:-1],
        sign(BODY, SECRET) + "0",
        "sha256=" + sign(BODY, SECRET)[7:].upper(),
        sign(BODY, SECRET)[7:],
        sign(BODY, "other"),
        sign(BODY + b" ", SECRET),
        "sha256=",
    ],
)
def test_a_wrong_signature_is_refused_and_says_which_header_and_setting(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(headers(signature), BODY, SECRET)

    assert str(caught.value) == "X-Hub-Signature does not match the body under JIRA_WEBHOOK_SECRET"


def test_the_header_of_github_s_signature_proves_nothing_here() -> None:
    with pytest.raises(SignatureError, match=r"^X-Hub-Signature is missing"):
        verify({"x-hub-signature-256": sign(BODY, SECRET)}, BODY, SECRET)


@pytest.mark.parametrize("secret", ["", " ", ",", " , "])
def test_an_empty_secret_verifies_nothing(secret: str) -> None:
    with pytest.raises(SignatureError, match=r"^JIRA_WEBHOOK_SECRET is not set"):
        verify(headers(sign(BODY, secret)), BODY, secret)


def test_each_secret_of_a_list_verifies_and_so_does_one_that_holds_a_comma() -> None:
    for secret in ("new", "old", "new, old"):
        verify(headers(sign(BODY, secret)), BODY, "new, old")

    with pytest.raises(SignatureError):
        verify(headers(sign(BODY, "ne")), BODY, "new, old")
