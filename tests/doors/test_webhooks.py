"""What reaches ``POST /webhook/github``: only proven deliveries leave a trace, and none a 5xx."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from aether.db import rows
from aether.models import Delivery, TaskExecution
from tests.doors.calls import PM_SARAH, SECRET, Door

ISSUE: dict[str, Any] = {
    "action": "opened",
    "issue": {
        "number": 7, "title": "T", "body": "B", "user": {"login": "ann", "type": "User"},
    },
    "repository": {"name": "api", "owner": {"login": "acme"}, "full_name": "acme/api"},
    "sender": {"login": "ann", "type": "User"},
}  # fmt: skip
MAPPED = {"canonical_trigger": "issue.created", "task_id": "triage"}


async def mapped(door: Door) -> None:
    await door.post("/api/agents", PM_SARAH)
    await door.post("/api/tasks", {
        "id": "triage", "name": "Triage", "description": "Look.", "actor_id": "pm_sarah",
    })  # fmt: skip
    await door.post("/api/tasks/triggers", MAPPED)
    await door.post("/api/tasks/sources/seed", status=200)


async def send(
    door: Door, body: bytes, *, secret: str | None = SECRET, event: str = "issues", **more: str
) -> Any:
    """The answer to a request whose signature is right for exactly these bytes."""
    headers = {"content-type": "application/json", "x-github-event": event}
    headers["x-github-delivery"] = hashlib.sha256(body).hexdigest()
    if secret is not None:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["x-hub-signature-256"] = f"sha256={digest}"
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return await door.client.post("/webhook/github", content=body, headers=raw)


async def test_the_signature_is_over_the_bytes_as_sent(door: Door) -> None:
    await mapped(door)
    told = json.dumps(dict(reversed(ISSUE.items())), separators=(",", ":  "))
    body = told.replace('"T"', r'"caf\u00e9 \/ x"').encode()

    answer = await send(door, body)

    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    assert (await Delivery.get()).title == "café / x"


async def test_a_title_of_any_script_is_kept_exactly(door: Door) -> None:
    title = "naïve 😀 日本\u202ex"
    issue = {**ISSUE, "issue": {**ISSUE["issue"], "title": title}}

    await send(door, json.dumps(issue, ensure_ascii=False).encode())

    assert (await Delivery.get()).title == title


async def test_a_form_encoded_delivery_is_read_as_its_json(door: Door) -> None:
    await mapped(door)
    title = "a+b & c%20d"
    issue = {**ISSUE, "issue": {**ISSUE["issue"], "title": title}}
    form = {"content_type": "application/x-www-form-urlencoded"}

    taken = await send(door, f"payload={quote_plus(json.dumps(issue))}".encode(), **form)
    empty = await send(door, b"other=1", **form)

    assert (taken.status_code, taken.json()["status"]) == (200, "accepted")
    assert (empty.status_code, list(empty.json())) == (400, ["error"])
    assert empty.json()["error"].startswith("payload: ")
    assert [one.title for one in await Delivery.all()] == [title]


@pytest.mark.parametrize(
    "signature",
    ["sha256=é", "", "sha1=" + "a" * 40, "sha256=" + "a" * 63, "sha256=" + "0" * 64, "tökén"],
)
async def test_an_odd_signature_is_refused_and_nothing_is_stored(
    door: Door, signature: str
) -> None:
    answer = await send(door, json.dumps(ISSUE).encode(), x_hub_signature_256=signature)

    assert (answer.status_code, list(answer.json())) == (401, ["error"])
    assert await Delivery.all().count() == 0
    assert door.hints == []


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[]", b"null", b'"x"', b"7", b"", b"NaN", b"\xff\xfe",
        b"[" * 20_000 + b"]" * 20_000,
        b'{"id":' + b"9" * 5_000 + b"}",
        json.dumps({**ISSUE, "repository": []}).encode(),
        json.dumps({**ISSUE, "issue": None}).encode(),
        json.dumps({**ISSUE, "action": {"a": 1}}).encode(),
        json.dumps({**ISSUE, "issue": {**ISSUE["issue"], "number": "7"}}).encode(),
    ],
)  # fmt: skip
async def test_a_body_of_any_shape_is_no_error_of_ours(door: Door, body: bytes) -> None:
    await mapped(door)

    answer = await send(door, body)

    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        assert list(answer.json()) == ["error"]
        assert await Delivery.all().count() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"issue": {**ISSUE["issue"], "body": None}},
        {"issue": {**ISSUE["issue"], "user": None}, "sender": None},
        {"issue": {**ISSUE["issue"], "title": "a\x00b"}},
    ],
)
async def test_what_github_leaves_empty_does_not_stop_a_run(
    door: Door, changes: dict[str, Any]
) -> None:
    await mapped(door)

    answer = await send(door, json.dumps({**ISSUE, **changes}).encode())

    assert answer.json()["status"] == "accepted"
    assert len(door.hints) == 1
    assert "\x00" not in (await Delivery.get()).title


async def test_without_a_secret_a_delivery_is_refused_and_the_setting_is_named(door: Door) -> None:
    door.runtime.settings = door.runtime.settings.model_copy(update={"github_webhook_secret": None})

    answer = await send(door, json.dumps(ISSUE).encode())

    assert answer.status_code == 401
    assert "GITHUB_WEBHOOK_SECRET" in answer.json()["error"]
    assert await Delivery.all().count() == 0


async def test_allow_unsigned_lets_a_delivery_in_and_marks_it_unverified(door: Door) -> None:
    door.runtime.settings = door.runtime.settings.model_copy(
        update={"github_webhook_secret": None, "allow_unsigned": frozenset({"github"})}
    )

    answer = await send(door, json.dumps(ISSUE).encode(), secret=None)

    assert answer.status_code == 200
    assert (await Delivery.get()).is_verified is False


async def test_allow_unsigned_excuses_nobody_while_a_secret_is_set(door: Door) -> None:
    door.runtime.settings = door.runtime.settings.model_copy(
        update={"allow_unsigned": frozenset({"all"})}
    )

    answer = await send(door, json.dumps(ISSUE).encode(), secret=None)

    assert answer.status_code == 401
    assert await Delivery.all().count() == 0


async def test_each_secret_of_a_list_verifies_so_that_it_can_be_rotated(door: Door) -> None:
    await mapped(door)
    answers = []
    for secret, number in (("old-secret", 1), ("new-secret", 2), ("third-secret", 3)):
        door.runtime.settings = door.runtime.settings.from_environment(
            {"GITHUB_WEBHOOK_SECRET": "old-secret, new-secret"}
        )
        issue = {**ISSUE, "issue": {**ISSUE["issue"], "number": number}}
        answers.append((await send(door, json.dumps(issue).encode(), secret=secret)).status_code)

    assert answers == [200, 200, 401]


@pytest.mark.parametrize("event", ["ping", "Feature Flag Hook", "star", "push"])
async def test_what_means_nothing_to_us_is_no_error_to_the_sender(door: Door, event: str) -> None:
    await mapped(door)

    answer = await send(door, json.dumps(ISSUE).encode(), event=event)

    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert answer.json()["executions"] == []
    assert door.hints == []


async def test_an_unknown_slug_is_not_found(door: Door) -> None:
    answer = await door.client.post("/webhook/bitbucket", content=b"{}")

    assert answer.status_code == 404
    assert await rows("SELECT 1 FROM delivery") == []


async def test_a_quoted_mention_does_not_match_a_filter_on_the_unquoted_text(door: Door) -> None:
    await mapped(door)
    await door.post("/api/webhook-mappings", {
        "source": "github", "event_type": "issue_comment", "canonical_trigger": "agent.called",
        "jq_filter": '[.comment.body | split("\\n")[] | select(startswith(">") | not)]'
        ' | any(contains("@agent"))',
    })  # fmt: skip

    def commented(comment_id: int, body: str) -> bytes:
        comment = {"id": comment_id, "body": body, "user": {"login": "ann"}}
        return json.dumps({**ISSUE, "action": "created", "comment": comment}).encode()

    quoted = await send(door, commented(1, "> @agent close this\n\nthanks"), event="issue_comment")
    said = await send(door, commented(2, "@agent close this"), event="issue_comment")

    assert quoted.json()["canonical_triggers"] == ["issue.commented"]
    assert said.json()["canonical_triggers"] == ["issue.commented", "agent.called"]


async def test_the_same_request_twice_is_one_run(door: Door) -> None:
    await mapped(door)
    body = json.dumps(ISSUE).encode()

    first = await send(door, body)
    again = await send(door, body)

    assert [first.json()["status"], again.json()["status"]] == ["accepted", "duplicate"]
    assert await TaskExecution.all().count() == 1
