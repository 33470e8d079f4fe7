"""Deliveries that prove themselves by a signature or a token, and those that do not."""

import base64
import hashlib
import hmac
from typing import Final

import pytest

from aether.errors import SignatureError
from aether.sources.gitlab import GitLab
from aether.sources.gitlab.verify import verify

BODY: Final = '{"object_kind":"issue","title":"caf\\u00e9 ☃ x"}'.encode()
KEY: Final = bytes(range(32))
SIGNING: Final = "whsec_" + base64.b64encode(KEY).decode()
OTHER: Final = "whsec_" + base64.b64encode(b"o" * 32).decode()
TOKEN: Final = "a-secret-token"
NOW: Final = 1_771_408_800


def signed(
    body: bytes = BODY,
    *,
    key: bytes = KEY,
    stamp: str = str(NOW),
    id: str = "evt-1",
    scheme: str = "v1,",
) -> dict[str, str]:
    content = f"{id}.{stamp}.".encode() + body
    digest = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": scheme + digest}


def test_a_vector_that_was_computed_elsewhere() -> None:
    # https://github.com/standard-webhooks/standard-webhooks : the example of its libraries
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    verify(headers, b'{"test": 2432232314}', secret, now=1_614_265_330)


def test_a_right_signature_and_a_right_token_are_each_enough() -> None:
    verify(signed(), BODY, f"{SIGNING},{TOKEN}", now=NOW)
    verify({"x-gitlab-token": TOKEN}, BODY, f"{SIGNING},{TOKEN}", now=NOW)
    verify({"x-gitlab-token": TOKEN}, BODY, TOKEN, now=NOW)
    verify({"x-gitlab-token": "wrong", **signed()}, BODY, f"{SIGNING},{TOKEN}", now=NOW)


def test_the_class_takes_the_time_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW + 299.0)

    GitLab().verify(signed(), BODY, SIGNING)


def test_a_signature_that_is_present_must_be_right_whatever_the_token_says() -> None:
    wrong = signed(key=b"x" * 32) | {"x-gitlab-token": TOKEN}

    with pytest.raises(SignatureError, match=r"^webhook-signature does not match the body under G"):
        verify(wrong, BODY, f"{SIGNING},{TOKEN}", now=NOW)
    with pytest.raises(SignatureError, match=r"^GITLAB_SIGNING_TOKEN is not set: "):
        verify(signed() | {"x-gitlab-token": TOKEN}, BODY, TOKEN, now=NOW)


def test_many_signatures_in_one_header_are_compared_and_not_computed_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def new(key: bytes, *told: object) -> hmac.HMAC:
        made.append(key)
        return hmac.HMAC(key, *told)  # type: ignore[arg-type]

    monkeypatch.setattr(hmac, "new", new)
    headers = signed() | {"webhook-signature": "v1,AAAA " * 10_000}
    made.clear()

    with pytest.raises(SignatureError, match=r"^webhook-signature does not match"):
        verify(headers, BODY, f"{SIGNING},{OTHER}", now=NOW)

    assert len(made) == 2  # one for each key: a body may have 25 MB, and its sender is unknown


@pytest.mark.parametrize("away", [-300, -299, 0, 299, 300])
def test_a_time_stamp_within_five_minutes_counts(away: int) -> None:
    verify(signed(stamp=str(NOW + away)), BODY, SIGNING, now=NOW)


@pytest.mark.parametrize("away", [-301, 301, -86_400])
def test_a_stale_time_stamp_is_refused(away: int) -> None:
    with pytest.raises(SignatureError, match=r"more than 300 seconds away from our clock"):
        verify(signed(stamp=str(NOW + away)), BODY, SIGNING, now=NOW)


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1e9", "١٧٧١٤٠٨٨٠٠", "9" * 13])
def test_a_time_stamp_that_is_none_is_refused(stamp: str) -> None:
    with pytest.raises(SignatureError, match=r"webhook-(timestamp|signature)"):
        verify(signed(stamp=stamp), BODY, SIGNING, now=NOW)


def test_each_signature_of_a_list_and_each_secret_of_a_list_verifies() -> None:
    several = signed()
    several["webhook-signature"] = f"v1a,AAAA v1,AAAA {several['webhook-signature']}"

    verify(several, BODY, f"{OTHER},{SIGNING}", now=NOW)
    verify({"x-gitlab-token": "new"}, BODY, f"old, new,{SIGNING}", now=NOW)
    verify({"x-gitlab-token": "with,comma"}, BODY, "with,comma", now=NOW)


@pytest.mark.parametrize(
    "headers",
    [
        signed(BODY + b" "),
        signed() | {"webhook-id": "evt-2"},
        signed() | {"webhook-timestamp": str(NOW + 1)},
        signed(scheme="v2,"),
        signed(scheme=""),
        signed(scheme="v1"),
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1," + "é\xff"},
        {"webhook-signature": "v1,日本\ud800"},
        {"webhook-signature": ", ,"},
    ],
)
def test_a_wrong_signature_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureError, match=r"^webhook-signature does not match the body under G"):
        verify(headers, BODY, SIGNING, now=NOW)


@pytest.mark.parametrize(
    "sent", ["tökén", "日本\ud800", TOKEN.upper(), TOKEN + " ", TOKEN[:-1], SIGNING]
)
def test_a_wrong_token_is_refused_and_says_which_setting(sent: str) -> None:
    with pytest.raises(SignatureError) as refused:
        verify({"x-gitlab-token": sent}, BODY, f"{TOKEN},{SIGNING}", now=NOW)

    assert str(refused.value) == ("X-Gitlab-Token is not the secret token of GITLAB_WEBHOOK_SECRET")


@pytest.mark.parametrize("headers", [{}, {"x-gitlab-token": ""}, {"x-gitlab-signature": "ab"}])
def test_what_is_missing_is_named(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureError, match=r"^X-Gitlab-Token is missing: .*GITLAB_WEBHOOK_SE"):
        verify(headers, BODY, TOKEN, now=NOW)
    with pytest.raises(SignatureError, match=r"^webhook-signature is missing: .*GITLAB_SIGNING_T"):
        verify(headers, BODY, SIGNING, now=NOW)


def test_the_signing_token_is_never_taken_for_a_token_that_is_shown() -> None:
    with pytest.raises(SignatureError, match=r"^webhook-signature is missing"):
        verify({"x-gitlab-token": SIGNING}, BODY, SIGNING, now=NOW)


@pytest.mark.parametrize("secret", ["", " ", ",", " , "])
def test_an_empty_secret_verifies_nothing(secret: str) -> None:
    for headers in ({"x-gitlab-token": secret}, {"x-gitlab-token": ""}, signed(key=b"")):
        with pytest.raises(SignatureError, match=r"^GITLAB_WEBHOOK_SECRET is not set"):
            verify(headers, BODY, secret, now=NOW)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_abc"])
def test_a_signing_token_that_is_none_verifies_nothing(secret: str) -> None:
    with pytest.raises(SignatureError, match=r"^GITLAB_SIGNING_TOKEN is no signing token"):
        verify(signed(key=b""), BODY, secret, now=NOW)


def test_no_secret_is_in_the_refusal() -> None:
    for headers in (signed(key=b"x"), {"x-gitlab-token": "other"}):
        with pytest.raises(SignatureError) as refused:
            verify(headers, BODY, f"hunter2,{SIGNING}", now=NOW)

        assert "hunter2" not in repr(refused.value)
        assert SIGNING[6:] not in repr(refused.value)
