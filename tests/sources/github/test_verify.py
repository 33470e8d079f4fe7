"""Signatures: over the received bytes, in constant time, never a crash."""

import hashlib
import hmac

import pytest

from aether.errors import SignatureError
from aether.sources.github.verify import verify

BODY = b'{"action":"opened"}'
SECRET = "s3cret"


def sign(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(signature: str) -> dict[str, str]:
    return {"x-hub-signature-256": signature}


def test_the_published_test_vector_verifies() -> None:
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    verify(headers(f"sha256={digest}"), b"Hello, World!", "It's a Secret to Everybody")


def test_the_received_bytes_count_and_not_their_meaning() -> None:
    body = b'{"sender":  7,  "title":  "caf\\u00e9 \\/ x"}'

    verify(headers(sign(body, SECRET)), body, SECRET)
    with pytest.raises(SignatureError, match="does not match the body"):
        verify(headers(sign(body, SECRET)), b'{"sender":7,"title":"caf\xc3\xa9 / x"}', SECRET)


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
        sign(BODY, SECRET).upper(),
        "sha256=" + sign(BODY, SECRET)[7:].upper(),  # GitHub sends lower case, nothing else
        sign(BODY, SECRET)[7:],
        sign(BODY, "other"),
        sign(BODY + b" ", SECRET),
        "sha256=",
    ],
)
def test_a_wrong_signature_is_refused_and_says_which_header_and_setting(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(headers(signature), BODY, SECRET)

    assert str(caught.value) == (
        "X-Hub-Signature-256 does not match the body under GITHUB_WEBHOOK_SECRET"
    )


@pytest.mark.parametrize("sent", [{}, {"x-hub-signature-256": ""}, {"x-hub-signature": "sha1=0"}])
def test_a_missing_signature_is_refused_and_says_what_to_do(sent: dict[str, str]) -> None:
    with pytest.raises(SignatureError, match=r"^X-Hub-Signature-256 is missing: .*WEBHOOK_SECRET"):
        verify(sent, BODY, SECRET)


@pytest.mark.parametrize("secret", ["", " ", ",", " , "])
def test_an_empty_secret_verifies_nothing(secret: str) -> None:
    for key in {secret, "", secret.strip()}:
        with pytest.raises(SignatureError, match=r"^GITHUB_WEBHOOK_SECRET is not set"):
            verify(headers(sign(BODY, key)), BODY, secret)


def test_each_secret_of_a_list_verifies_and_so_does_one_with_a_comma_in_it() -> None:
    for signed_with in ("old", "new", "old, new"):
        verify(headers(sign(BODY, signed_with)), BODY, "old, new")

    with pytest.raises(SignatureError):
        verify(headers(sign(BODY, "")), BODY, "old,,new")


def test_no_secret_is_in_the_refusal() -> None:
    with pytest.raises(SignatureError) as caught:
        verify(headers(sign(BODY, "other")), BODY, "hunter2")

    assert "hunter2" not in repr(caught.value)


def test_a_secret_that_is_not_utf_8_is_taken_by_its_bytes() -> None:
    raw = b"p\xe4ss"
    signature = "sha256=" + hmac.new(raw, BODY, hashlib.sha256).hexdigest()

    verify(headers(signature), BODY, raw.decode(errors="surrogateescape"))
