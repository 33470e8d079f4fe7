"""Signatures: over the received bytes, bare, in constant time, never a crash."""

import hashlib
import hmac
import json

import pytest

from aether.config import Settings
from aether.errors import SignatureError
from aether.proofs import webhook_proof
from aether.sources.plane import Plane
from aether.sources.plane.verify import verify
from resolvers.deliveries import verify_delivery

BODY = b'{"event": "issue", "action": "created"}'
SECRET = "plane_wh_s3cret"


def sign(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(signature: str) -> dict[str, str]:
    return {"x-plane-signature": signature}


def test_the_vector_of_rfc_4231_verifies() -> None:
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

    verify(headers(digest), b"what do ya want for nothing?", "Jefe")


def test_the_received_bytes_count_and_not_their_meaning() -> None:
    body = json.dumps({"data": {"name": "café \N{GRINNING FACE}"}}).encode()  # as Plane writes it

    verify(headers(sign(body)), body, SECRET)
    with pytest.raises(SignatureError, match="does not match the body"):
        verify(
            headers(sign(body)), json.dumps(json.loads(body), ensure_ascii=False).encode(), SECRET
        )


def test_secret_and_body_are_utf_8() -> None:
    body = '{"name": "naïve 日本\u202ex"}'.encode()

    verify(headers(sign(body, "pässwörd")), body, "pässwörd")


@pytest.mark.parametrize(
    "signature",
    [
        "é\xff", "日本\ud800", f"sha256={sign(BODY)}", sign(BODY)[:-1], f"{sign(BODY)}0",
        sign(BODY).upper(), sign(BODY, "other"), sign(BODY + b" "), " ", "None",
        hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest(),
    ],
)  # fmt: skip
def test_a_wrong_signature_is_refused_and_says_which_header_and_setting(signature: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(headers(signature), BODY, SECRET)

    text = "X-Plane-Signature does not match the body under PLANE_WEBHOOK_SECRET"
    assert str(caught.value) == text


@pytest.mark.parametrize("secret", ["", " ", ",", " , "])
def test_an_empty_secret_verifies_nothing(secret: str) -> None:
    with pytest.raises(SignatureError, match=r"^PLANE_WEBHOOK_SECRET is not set"):
        verify(headers(sign(BODY, secret)), BODY, secret)


def test_each_secret_of_a_list_verifies_and_so_does_one_that_holds_a_comma() -> None:
    for secret in ("new", "old", "new, old"):
        verify(headers(sign(BODY, secret)), BODY, "new, old")

    with pytest.raises(SignatureError):
        verify(headers(sign(BODY, "ne")), BODY, "new, old")


async def proven(told: dict[str, str], **settings: str) -> bool:
    proof = await webhook_proof(Settings(database_url="postgres://x/y", **settings), "plane")  # type: ignore[arg-type]
    return verify_delivery(Plane(), proof, told, BODY)


async def test_the_api_key_proves_only_where_no_secret_is_set() -> None:
    shown = {"x-api-key": "plane_api_one"}

    assert await proven(shown, plane_api_key="plane_api_one")
    assert await proven(shown, plane_api_key="plane_api_two, plane_api_one")
    assert await proven(shown | headers(sign(BODY)), plane_api_key="plane_api_one")
    with pytest.raises(SignatureError, match=r"^X-Plane-Signature is missing"):
        await proven(shown, plane_api_key="plane_api_one", plane_webhook_secret=SECRET)
    wrong = shown | headers(sign(BODY, "plane_api_one"))
    with pytest.raises(SignatureError, match=r"^X-Plane-Signature does not match"):
        await proven(wrong, plane_api_key="plane_api_one", plane_webhook_secret=SECRET)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({}, "X-API-Key is missing; set PLANE_WEBHOOK_SECRET, so that deliveries are proven by "
             "their signature, or have PLANE_API_KEY sent along"),
        (headers(sign(BODY, "plane_api_one")), "X-API-Key is missing"),
        ({"x-api-key": "plane_api_on"}, "X-API-Key does not prove the body under PLANE_API_KEY"),
        ({"x-api-key": "é\xff日"}, "X-API-Key does not prove the body under PLANE_API_KEY"),
    ],
)  # fmt: skip
async def test_another_key_or_none_is_refused_with_a_hint(told: dict[str, str], text: str) -> None:
    with pytest.raises(SignatureError) as refused:
        await proven(told, plane_api_key="plane_api_one")

    assert str(refused.value).startswith(text)
    assert "plane_api_one" not in str(refused.value)


async def test_with_neither_nothing_is_proven() -> None:
    with pytest.raises(SignatureError, match=r"^PLANE_WEBHOOK_SECRET is not set"):
        await proven({"x-api-key": ""})
