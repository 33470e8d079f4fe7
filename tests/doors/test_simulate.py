"""POST /api/deliveries/simulate and simulateDelivery: what a webhook would do, and nothing done."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from aether.config import Settings
from tests.doors.calls import PM_ANALYZE, PM_SARAH, SECRET, issue_opened
from tests.engine.untouched import contents
from tests.schema.both import Doors, both_doors

SIMULATE: Final = "/api/deliveries/simulate"
BODY: Final = json.dumps(issue_opened())
KEY: Final = "key-key-key-key-key-key-key-key-key-key"
QUERY: Final = """query ($slug: String!, $headers: JSON!, $body: String, $base64: String) {
  simulateDelivery(slug: $slug, headers: $headers, body: $body, bodyBase64: $base64) {
    slug source status httpStatus reason
    signature { verdict setting reason }
    prospect {
      status reason projectId
      stored { deliveryId by status isRoutedAnew executions delivery { id } }
      event { eventName action item { kind project key title labels } actor { login isBot }
        candidates { eventName action } text deliveryKey changeKey }
      rules { webhookMappingId jqFilter canonicalTrigger verdict }
      triggers { canonicalTrigger sourceEventMappingId webhookMappingIds }
      gates { triggerTaskMappingId taskId isOpen reason conditionVerdict }
      extracted
      tasks { taskId taskName canonicalTrigger agentId agentReason model error
        messages { role content } memories { key } memoriesError
        tools { name description parameters } withheld { name reason }
        answer { place itemKey url reason } }
    } } }"""


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        yield ours


async def configured(doors: Doors) -> None:
    await doors.post("/api/agents", PM_SARAH)
    await doors.post("/api/tasks", PM_ANALYZE)
    await doors.post(
        "/api/tasks/triggers", {"canonical_trigger": "issue.created", "task_id": "pm_analyze"}
    )
    await doors.post("/api/tasks/sources/seed", status=200)
    await doors.post("/api/tools/seed", status=200)


def signed(body: str | bytes = BODY, *, secret: str = SECRET) -> dict[str, str]:
    content = body.encode() if isinstance(body, str) else body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return {
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": f"sha256={digest}",
        "Content-Type": "application/json",
    }


async def simulated(doors: Doors, **told: Any) -> Any:
    """REST's answer, once it is seen that nothing was written and no hint sent."""
    sent = {"slug": "github", "headers": signed(), "body": BODY} | told
    before, hints = await contents(), list(doors.hints)

    answer = await doors.post(SIMULATE, {k: v for k, v in sent.items() if v is not None}, 200)

    assert await contents() == before
    assert doors.hints == hints
    return answer


async def test_a_delivery_that_would_be_accepted_is_shown_whole(doors: Doors) -> None:
    await configured(doors)

    told = await simulated(doors)

    prospect = told["prospect"]
    [task] = prospect["tasks"]
    assert {name: told[name] for name in ("slug", "source", "status", "http_status", "reason")} == {
        "slug": "github", "source": "github", "status": "accepted", "http_status": 200,
        "reason": None,
    }  # fmt: skip
    assert told["signature"] == {
        "verdict": "verified", "setting": "GITHUB_WEBHOOK_SECRET", "reason": None,
    }  # fmt: skip
    assert (prospect["event"]["event_name"], prospect["event"]["subject"]["key"]) == ("issues", "7")
    assert [one["canonical_trigger"] for one in prospect["triggers"]] == ["issue.created"]
    assert prospect["triggers"][0]["source_event_mapping_id"] > 0
    assert [(one["task_id"], one["is_open"]) for one in prospect["gates"]] == [("pm_analyze", True)]
    assert (task["task_id"], task["agent_id"]) == ("pm_analyze", "pm_sarah")
    why = (
        "an outsider woke this run (association NONE), and task pm_analyze does not let outsiders "
        "act"
    )
    assert task["agent_reason"] == f"pm_sarah is the task's actor; {why}"
    assert {"name": "add_labels", "reason": why} in task["withheld"]
    assert "add_labels" not in [one["name"] for one in task["tools"]]
    assert task["error"].startswith("no model is configured")
    assert [one["role"] for one in task["messages"]] == ["system", "user"]
    assert task["messages"][0]["content"].startswith(PM_SARAH["prompt"])
    assert "It says 500." in task["messages"][1]["content"]
    assert "add_comment" in [one["name"] for one in task["tools"]]
    assert (task["answer"]["place"], task["answer"]["item_key"]) == ("item", "7")
    assert SECRET not in json.dumps(told)


async def test_what_is_simulated_is_what_the_webhook_then_answers(doors: Doors) -> None:
    await configured(doors)
    before = await simulated(doors)

    real = await doors.client.post("/webhook/github", content=BODY.encode(), headers=signed())
    after = await simulated(doors)

    receipt = real.json()
    assert receipt["status"] == before["status"] == "accepted"
    assert receipt["canonical_triggers"] == [
        one["canonical_trigger"] for one in before["prospect"]["triggers"]
    ]
    assert (after["status"], after["prospect"]["tasks"]) == ("duplicate", [])
    assert after["prospect"]["stored"] == {
        "delivery_id": receipt["delivery_id"], "by": "delivery_key", "status": "routed",
        "reason": None, "canonical_triggers": ["issue.created"],
        "executions": receipt["executions"], "is_routed_anew": False,
    }  # fmt: skip
    anew = await simulated(doors, as_new=True)
    assert [one["task_id"] for one in anew["prospect"]["tasks"]] == ["pm_analyze"]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (
            signed(secret="another"),
            "X-Hub-Signature-256 does not match the body under GITHUB_WEBHOOK_SECRET",
        ),
        ({"x-github-event": "issues"}, "X-Hub-Signature-256 is missing"),
        ({**signed(), "X-Hub-Signature-256": "tökén"}, "X-Hub-Signature-256"),
    ],
)
async def test_a_wrong_signature_is_refused_and_the_rest_is_shown_all_the_same(
    doors: Doors, headers: dict[str, str], reason: str
) -> None:
    await configured(doors)

    told = await simulated(doors, headers=headers)
    real = await doors.client.post(
        "/webhook/github",
        content=BODY.encode(),
        headers=[(name.lower().encode(), value.encode()) for name, value in headers.items()],
    )

    assert (told["status"], told["http_status"], real.status_code) == ("refused", 401, 401)
    assert told["signature"]["verdict"] == "refused"
    assert told["signature"]["setting"] == "GITHUB_WEBHOOK_SECRET"
    assert told["reason"] == told["signature"]["reason"] == real.json()["error"]
    assert told["reason"].startswith(reason)
    assert told["prospect"]["status"] == "accepted"
    assert [one["task_id"] for one in told["prospect"]["tasks"]] == ["pm_analyze"]


async def test_without_a_secret_it_is_refused_or_let_in_as_the_operator_decided(
    doors: Doors,
) -> None:
    doors.runtime.settings = Settings.from_environment({})
    refused = await simulated(doors, headers={"x-github-event": "issues"})
    doors.runtime.settings = Settings.from_environment({"ALLOW_UNSIGNED": "github"})
    let_in = await simulated(doors, headers={"x-github-event": "issues"})

    assert (refused["status"], refused["http_status"]) == ("refused", 401)
    assert refused["reason"] == (
        "GITHUB_WEBHOOK_SECRET is not set, so no delivery of github can be verified"
    )
    assert (let_in["status"], let_in["http_status"]) == ("ignored", 200)
    assert let_in["signature"] == {
        "verdict": "unsigned",
        "setting": "GITHUB_WEBHOOK_SECRET",
        "reason": "GITHUB_WEBHOOK_SECRET is not set, and ALLOW_UNSIGNED lets github in",
    }


async def test_an_integrations_own_slug_is_proven_by_its_own_secret(doors: Doors) -> None:
    doors.runtime.settings = Settings.from_environment({"ENCRYPTION_KEY": KEY})
    sent = {
        "source": "github", "name": "Ours", "credentials": {}, "slug": "ours",
        "webhook": {"secret": "a secret of the hook"},
    }  # fmt: skip
    await doors.post("/api/integrations", sent)
    headers = signed(secret="a secret of the hook")

    proven = await simulated(doors, slug="ours", headers=headers)
    foreign = await simulated(doors, slug="ours")
    doors.runtime.settings = Settings.from_environment({"ENCRYPTION_KEY": KEY[::-1]})
    unreadable = await simulated(doors, slug="ours", headers=headers)

    setting = "webhook.secret of integration 'Ours'"
    assert proven["signature"] == {"verdict": "verified", "setting": setting, "reason": None}
    assert foreign["reason"] == f"X-Hub-Signature-256 does not match the body under {setting}"
    assert (unreadable["source"], unreadable["status"]) == ("github", "refused")
    assert unreadable["reason"].startswith("the webhook's stored secret cannot be read: ")
    assert unreadable["prospect"]["event"]["event_name"] == "issues"
    assert "a secret of the hook" not in json.dumps([proven, foreign, unreadable])


async def test_a_body_that_is_no_event_says_what_is_wrong_with_it(doors: Doors) -> None:
    told = await simulated(doors, body="[]", headers=signed("[]"))
    unproven = await simulated(doors, body="[]", headers={})

    real = await doors.client.post("/webhook/github", content=b"[]", headers=signed("[]"))
    assert (told["status"], told["http_status"], told["prospect"]) == ("unreadable", 400, None)
    assert (real.status_code, real.json()["error"]) == (400, told["reason"])
    assert (unproven["status"], unproven["http_status"]) == ("refused", 401)


async def test_the_signature_is_over_the_bytes_also_those_that_no_text_holds(
    doors: Doors,
) -> None:
    body = BODY.replace("It says 500.", "caf\u00e9").encode("utf-8") + b"\n\x00"[:1]
    sent = base64.b64encode(body).decode()

    exact = await simulated(doors, body=None, body_base64=sent, headers=signed(body))
    other = await simulated(doors, body=body.decode().strip(), headers=signed(body))
    broken = await simulated(
        doors, body=None, body_base64=base64.b64encode(b"\xff\x00").decode(), headers={}
    )

    assert exact["signature"]["verdict"] == "verified"
    assert other["signature"]["verdict"] == "refused"
    assert broken["prospect"] is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"body": None}, "body: give either body or body_base64"),
        ({"body_base64": "e30="}, "body: give either body or body_base64"),
        ({"body": None, "body_base64": "!"}, "body_base64: must be base64"),
        ({"headers": {"A": "1", "a": "2"}}, "headers: 'a' is given twice"),
        ({"headers": {"A": 1}}, "headers.A: must be text"),
        ({"headers": []}, "headers: must be an object"),
        ({"slug": ""}, "slug: must not be empty"),
        ({"secret": "x"}, "secret: unknown field"),
    ],
)
async def test_what_cannot_be_simulated_names_the_field(
    doors: Doors, change: dict[str, Any], error: str
) -> None:
    sent = {"slug": "github", "headers": signed(), "body": BODY} | change
    before = await contents()

    text = await doors.refused(
        "POST", SIMULATE, {k: v for k, v in sent.items() if v is not None}, 400
    )

    assert text == error
    assert await contents() == before


async def test_an_unknown_slug_is_not_found_at_both_doors(doors: Doors) -> None:
    sent = {"slug": "nothing", "headers": {}, "body": "{}"}

    rest = await doors.refused("POST", SIMULATE, sent, 404)
    graphql = await doors.refused_by_graphql(QUERY, **sent)

    assert rest == "webhook 'nothing' not found"
    assert graphql == (rest, "NOT_FOUND")


async def test_both_doors_say_the_same(doors: Doors) -> None:
    await configured(doors)
    await doors.post(
        "/api/webhook-mappings",
        {
            "source": "github", "event_type": "issues", "jq_filter": ".issue.number == 7",
            "canonical_trigger": "issue.seven", "extract": {"n": ".issue.number"},
        },
    )  # fmt: skip
    rest = await simulated(doors)
    before = await contents()

    answer = await doors.ask(QUERY, slug="github", headers=signed(), body=BODY)

    assert await contents() == before
    told = answer["simulateDelivery"]
    prospect, theirs = told["prospect"], rest["prospect"]
    assert told["status"].lower() == rest["status"] == "accepted"
    assert told["signature"]["verdict"].lower() == rest["signature"]["verdict"]
    assert prospect["status"] == "ACCEPTED"
    assert (
        [one["canonicalTrigger"] for one in prospect["triggers"]]
        == [one["canonical_trigger"] for one in theirs["triggers"]]
        == ["issue.created", "issue.seven"]
    )
    assert [(one["verdict"], int(one["webhookMappingId"])) for one in prospect["rules"]] == [
        ("TRUE", theirs["rules"][0]["webhook_mapping_id"])
    ]
    assert prospect["extracted"] == theirs["extracted"] == {"n": 7}
    assert prospect["event"]["item"]["title"] == theirs["event"]["subject"]["title"]
    [mine], [yours] = prospect["tasks"], theirs["tasks"]
    assert mine["messages"][0] == yours["messages"][0]
    assert mine["tools"] == yours["tools"]
    assert (mine["answer"]["place"], mine["answer"]["url"]) == ("ITEM", yours["answer"]["url"])


async def test_graphql_names_its_own_argument_and_takes_base64(doors: Doors) -> None:
    sent = {"slug": "github", "headers": signed()}

    neither = await doors.refused_by_graphql(QUERY, **sent)
    odd = await doors.refused_by_graphql(QUERY, **sent, base64="!")
    told = await doors.ask(QUERY, **sent, base64=base64.b64encode(BODY.encode()).decode())

    assert neither == ("body: give either body or body_base64", "INVALID_INPUT")
    assert odd[1] == "INVALID_INPUT"
    assert told["simulateDelivery"]["signature"]["verdict"] == "VERIFIED"


async def test_the_path_is_not_taken_for_a_delivery(doors: Doors) -> None:
    assert await doors.refused("GET", SIMULATE, None, 405) == "not allowed here; allowed: POST"
