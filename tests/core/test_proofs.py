"""How a delivery to a slug of its own proves itself: published examples, odd headers, clocks."""

import base64
import hashlib
import hmac
from typing import Any, Final

import pytest
from pydantic import SecretStr

from aether.errors import SignatureError
from aether.proofs import Proof, verify
from aether.vocabulary import SourceName

BODY: Final = b"Hello, World!"
SECRET: Final = "It's a Secret to Everybody"
NOW: Final = 1_700_000_000
# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
PUBLISHED: Final = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def proof(webhook: dict[str, Any], secret: str | None = SECRET) -> Proof:
    return Proof(
        source=SourceName.GITHUB,
        secret=SecretStr(secret) if secret is not None else None,
        setting="webhook.secret of integration 'Ours'",
        lets_unsigned_in=False,
        integration_id=1,
        webhook=webhook,
    )


def check(webhook: dict[str, Any], headers: dict[str, str], **told: Any) -> None:
    verify(proof(webhook, told.get("secret", SECRET)), headers, told.get("body", BODY), now=NOW)


def digest(content: bytes, algorithm: str = "sha256", secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), content, algorithm).digest()


def test_the_published_example_proves() -> None:
    check({"header": "X-Hub-Signature-256", "prefix": "sha256="},
          {"x-hub-signature-256": f"sha256={PUBLISHED}"})  # fmt: skip


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_each_algorithm_and_encoding_proves(algorithm: str, encoding: str) -> None:
    made = digest(BODY, algorithm)
    sent = made.hex() if encoding == "hex" else base64.b64encode(made).decode()

    check(
        {"header": "X-Sign", "algorithm": algorithm, "encoding": encoding, "prefix": "v1,"},
        {"x-sign": f"v1,{sent}"},
    )


@pytest.mark.parametrize(
    ("webhook", "headers"),
    [
        ({"header": "Authorization"}, {"authorization": f"Bearer {SECRET}"}),
        ({"header": "X-Gitlab-Token"}, {"x-gitlab-token": SECRET}),
        ({"header": "X-Token", "prefix": "Token "}, {"x-token": f"Token {SECRET}"}),
    ],
)
def test_a_bearer_secret_proves(webhook: dict[str, Any], headers: dict[str, str]) -> None:
    check(webhook | {"algorithm": "bearer"}, headers)


def test_each_secret_of_a_list_proves_and_text_is_utf_8() -> None:
    secret = "pässwörd,neu 😀"
    token = "neu 😀".encode().decode("latin-1")  # as a header arrives

    check({"header": "X", "algorithm": "bearer"}, {"x": token}, secret=secret)
    for one in secret.split(","):
        check({"header": "X"}, {"x": digest(BODY, secret=one).hex()}, secret=secret)


@pytest.mark.parametrize(
    ("webhook", "sent"),
    [
        ({}, ""),
        ({}, "é"),
        ({}, "日本"),
        ({}, PUBLISHED[:-1]),
        ({}, "0" * 64),
        ({}, f"sha256={PUBLISHED}"),
        ({"prefix": "sha256="}, PUBLISHED),
        ({"encoding": "base64"}, PUBLISHED),
        ({"algorithm": "sha512"}, PUBLISHED),
        ({"algorithm": "bearer"}, PUBLISHED),
        ({"algorithm": "bearer"}, f"Bearer {SECRET}"),
        ({"algorithm": "bearer"}, SECRET.lower()),
    ],
)
def test_what_does_not_prove_is_refused_without_the_secret_in_its_words(
    webhook: dict[str, Any], sent: str
) -> None:
    with pytest.raises(SignatureError, match="X-Sign") as refused:
        check({"header": "X-Sign", **webhook}, {"x-sign": sent})

    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("secret", [None, "", ","])
@pytest.mark.parametrize("algorithm", ["sha256", "bearer"])
def test_no_secret_proves_nothing(secret: str | None, algorithm: str) -> None:
    for sent in ("", hmac.new(b"", BODY, hashlib.sha256).hexdigest()):
        with pytest.raises(SignatureError):
            check({"header": "X", "algorithm": algorithm}, {"x": sent}, secret=secret)


@pytest.mark.parametrize("body", [b"", b"Hello, World", b"hello, World!", b"Hello, World!\n"])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureError, match=r"does not prove the body under webhook\.secret of"):
        check({"header": "X"}, {"x": PUBLISHED}, body=body)


STAMPED: Final = {"header": "X", "timestamp_header": "X-Time"}


def stamped(stamp: str) -> dict[str, str]:
    return {"x": digest(stamp.encode() + b"." + BODY).hex(), "x-time": stamp}


@pytest.mark.parametrize(
    ("window", "seconds", "proves"),
    [
        (None, 0, True), (None, 300, True), (None, -300, True), (None, 301, False),
        (None, -301, False), (60, 60, True), (60, 61, False),
    ],
)  # fmt: skip
def test_a_time_stamp_proves_within_its_window(
    window: int | None, seconds: int, proves: bool
) -> None:
    webhook = STAMPED if window is None else {**STAMPED, "window_seconds": window}
    headers = stamped(str(NOW + seconds))

    if proves:
        check(webhook, headers)
    else:
        with pytest.raises(SignatureError, match=f"X-Time is more than {window or 300} seconds"):
            check(webhook, headers)


def test_a_time_stamp_is_part_of_what_is_signed() -> None:
    headers = stamped(str(NOW)) | {"x-time": str(NOW + 1)}

    with pytest.raises(SignatureError, match="X does not prove"):
        check(STAMPED, headers)
    with pytest.raises(SignatureError, match="X does not prove"):
        check(STAMPED, {"x": PUBLISHED})


@pytest.mark.parametrize("stamp", ["", "now", "-5", "1e9", "٣", "9" * 13, "1700000000.5"])
def test_a_time_stamp_of_another_kind_is_refused(stamp: str) -> None:
    headers = stamped(stamp)
    headers["x-time"] = stamp.encode().decode("latin-1")

    with pytest.raises(SignatureError, match="X-Time does not hold the seconds since 1970"):
        check(STAMPED, headers)
