"""What reaches ``POST /webhook/jira``: proven deliveries, as Cloud and as Server send them."""

import hashlib
import hmac
import json
from typing import Any, Final

import pytest
from pydantic import SecretStr

from aether.models import Delivery, TaskExecution
from tests.doors.calls import PM_SARAH, Door

SECRET: Final = "jira_secret_of_the_tests"
ADDRESS: Final = "https://jira.example.com/rest/api/2/issue/10207/comment/900"
COMMENT: Final = {
    "self": ADDRESS, "id": "900", "body": "Is it late?", "author": {"name": "bo"},
    "created": "2026-03-04T08:19:05.600+0000", "updated": "2026-03-04T08:19:05.600+0000",
}  # fmt: skip
STRIPPED: Final = {"timestamp": 1, "webhookEvent": "comment_created", "comment": COMMENT}
FULL: Final = {
    "timestamp": 1, "webhookEvent": "jira:issue_updated",
    "issue_event_type_name": "issue_commented", "user": {"name": "bo"}, "comment": COMMENT,
    "issue": {"id": "10207", "key": "OPS-7", "fields": {"summary": "Boom"}},
}  # fmt: skip


@pytest.fixture
async def jira(door: Door) -> Door:
    """A door that knows Jira's secret, with one task for each comment."""
    door.runtime.settings = door.runtime.settings.model_copy(
        update={"jira_webhook_secret": SecretStr(SECRET)}
    )
    await door.post("/api/agents", PM_SARAH)
    await door.post("/api/tasks", {
        "id": "triage", "name": "Triage", "description": "Look.", "actor_id": "pm_sarah",
    })  # fmt: skip
    await door.post(
        "/api/tasks/triggers", {"canonical_trigger": "issue.commented", "task_id": "triage"}
    )
    await door.post("/api/tasks/sources/seed", status=200)
    return door


async def send(door: Door, payload: Any, *, secret: str | None = SECRET) -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = {"content-type": "application/json"}
    if secret is not None:
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers["x-hub-signature"] = f"sha256={digest}"
    return await door.client.post("/webhook/jira", content=body, headers=headers)


@pytest.mark.parametrize("order", [[STRIPPED, FULL], [FULL, STRIPPED]])
async def test_a_comment_that_server_tells_twice_is_one_run_on_its_issue(
    jira: Door, order: list[dict[str, Any]]
) -> None:
    answers = [(await send(jira, one)).json() for one in order]

    assert [one["status"] for one in answers] == ["accepted", "duplicate"]
    assert {one["canonical_trigger"] for one in answers} == {"issue.commented"}
    assert answers[0]["executions"] == answers[1]["executions"]
    assert len(answers[0]["executions"]) == 1
    stored, execution = await Delivery.get(), await TaskExecution.get()
    assert (stored.item_kind, stored.item_key, stored.title) == ("issue", "OPS-7", "Boom")
    assert (execution.project_key, execution.item_key) == ("OPS", "OPS-7")


async def test_the_post_of_a_transition_is_answered_and_starts_nothing(jira: Door) -> None:
    post = {"transition": {"transitionId": 1}, "comment": "", "issue": {"key": "P-1"}}

    answer = await send(jira, post | {"timestamp": 1598893874818})

    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert (await Delivery.get()).reason == "no mapping knows transition"
    assert await TaskExecution.all().count() == 0


@pytest.mark.parametrize(
    ("payload", "status"),
    [(b"", 400), (b"[]", 400), ({}, 400), ({"webhookEvent": 7}, 400),
     ({"webhookEvent": "comment_created"}, 200),
     ({"webhookEvent": "jira:issue_updated", "issue": [], "comment": 7, "changelog": "x"}, 200)],
)  # fmt: skip
async def test_odd_deliveries_are_refused_or_ignored_and_break_nothing(
    jira: Door, payload: Any, status: int
) -> None:
    answer = await send(jira, payload)

    assert answer.status_code == status
    assert await Delivery.all().count() == (1 if status == 200 else 0)


@pytest.mark.parametrize("secret", [None, "another"])
async def test_what_is_not_proven_leaves_nothing(jira: Door, secret: str | None) -> None:
    answer = await send(jira, FULL, secret=secret)

    assert answer.status_code == 401
    assert answer.json()["error"].startswith("X-Hub-Signature ")
    assert await Delivery.all().count() == 0


async def test_without_a_secret_jira_is_refused_by_the_setting_s_name(door: Door) -> None:
    answer = await send(door, FULL)

    assert answer.status_code == 401
    assert "JIRA_WEBHOOK_SECRET is not set" in answer.json()["error"]
