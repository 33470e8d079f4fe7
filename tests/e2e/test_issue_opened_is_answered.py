"""HTTP in, comments out: real processes, real database, real queue; GitHub and model stand in."""

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aether.demo.github_payloads import issue_comment_payload
from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from tests.conftest import emptied, make_database
from tests.e2e.system import SECRET, System, system, wait_for

REPO = "acme/api"


@pytest.fixture(scope="module")
def started(
    postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Web, worker and scheduler, started once: each takes seconds to start."""
    url = asyncio.run(make_database(postgres, "issue_opened"))
    with system(url, valkey.url, tmp_path_factory.mktemp("system")) as made:
        made.start("worker")
        made.start("scheduler")
        made.start_web()
        yield made


@pytest.fixture
def running(started: System) -> System:
    """The same over an emptied database, with new stand-ins and one task on ``issue.created``."""
    asyncio.run(emptied(started.environment["DATABASE_URL"]))
    started.renew()
    started.one_task()
    return started


def comments(system: System, number: int = 7) -> list[str]:
    return [
        re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one.body)
        for one in system.github.comments(REPO, number)
    ]


def test_a_signed_webhook_becomes_one_comment_and_a_redelivery_becomes_nothing(
    running: System,
) -> None:
    running.model.say(
        by_turn(
            [
                Reply.calls(ToolCallScript("add_labels", {"labels": ["bug"]}, "c1")),
                Reply.text("It is the parser."),
            ]
        )
    )
    running.github.add_issue(REPO, 7, "It breaks", "On start.")
    payload = running.github.opened_payload(REPO, 7)

    first = running.deliver(payload, delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    [execution_id] = first.json()["executions"]
    done = running.finished(execution_id)
    again = running.deliver(payload, delivery_id="72d3162e-cc78-11e3-81ab-4c9367dc0958")
    other_hook = running.deliver(payload)

    assert first.json() == {
        "status": "accepted",
        "delivery_id": first.json()["delivery_id"],
        "canonical_trigger": "issue.created",
        "canonical_triggers": ["issue.created"],
        "executions": [execution_id],
    }
    assert (done["status"], done["answer"], done["error"]) == (
        "succeeded", "It is the parser.", None,
    )  # fmt: skip
    assert comments(running) == ["It is the parser."]
    assert list(running.github.issue(REPO, 7).labels) == ["bug"]
    for repeated in (again, other_hook):
        assert repeated.status_code == 200
        assert repeated.json()["status"] == "duplicate"
        assert repeated.json()["executions"] == [execution_id]
    assert len(running.call("GET", "/api/deliveries")) == 1
    assert running.model.problems == []


@pytest.mark.slow
def test_twenty_identical_deliveries_at_two_web_processes_are_one_run(running: System) -> None:
    running.model.say(Reply.text("Once."))
    running.github.add_issue(REPO, 7, "It breaks")
    payload = running.github.opened_payload(REPO, 7)
    urls = [running.url, running.start_web()]

    with ThreadPoolExecutor(20) as pool:
        sent = list(
            pool.map(
                lambda turn: running.deliver(payload, url=urls[turn % 2], delivery_id="the-same"),
                range(20),
            )
        )

    assert {one.status_code for one in sent} == {200}
    assert sorted(one.json()["status"] for one in sent) == ["accepted"] + ["duplicate"] * 19
    [execution_id] = {one.json()["executions"][0] for one in sent}
    assert running.finished(execution_id)["status"] == "succeeded"
    assert len(running.call("GET", "/api/deliveries")) == 1
    assert comments(running) == ["Once."]


def test_a_wrong_signature_reserves_nothing(running: System) -> None:
    running.model.say(Reply.text("Then right."))
    running.github.add_issue(REPO, 7, "It breaks")
    payload = running.github.opened_payload(REPO, 7)

    wrong = running.deliver(payload, delivery_id="d-1", secret="another")
    stored = running.call("GET", "/api/deliveries")
    right = running.deliver(payload, delivery_id="d-1")

    assert (wrong.status_code, stored) == (401, [])
    assert "X-Hub-Signature-256" in wrong.json()["error"]
    assert right.json()["status"] == "accepted"
    running.finished(right.json()["executions"][0])


@pytest.mark.slow
def test_fifty_deliveries_are_answered_while_the_model_thinks(running: System) -> None:
    thinking = threading.Event()
    running.model.say(Reply.text("Thought.").after(thinking))
    for number in range(1, 51):
        running.github.add_issue(REPO, number, f"Issue {number}")

    with ThreadPoolExecutor(10) as pool:
        sent = list(
            pool.map(
                lambda number: running.deliver(running.github.opened_payload(REPO, number)),
                range(1, 51),
            )
        )
    answered_before = [one.json()["status"] for one in sent]
    comments_before = sum(len(comments(running, number)) for number in range(1, 51))
    thinking.set()

    assert answered_before == ["accepted"] * 50
    assert comments_before == 0
    for answer in sent:
        assert running.finished(answer.json()["executions"][0], seconds=90)["status"] == "succeeded"
    assert [len(comments(running, number)) for number in range(1, 51)] == [1] * 50


def test_our_own_comment_starts_nothing_and_a_persons_comment_does(running: System) -> None:
    running.call("POST", "/api/tasks/triggers", json={
        "canonical_trigger": "issue.commented", "task_id": "triage",
    })  # fmt: skip
    running.model.say(Reply.text("Thank you. @triage"))
    running.github.hook(f"{running.url}/webhook/github", SECRET, ["issue_comment"])

    [execution_id] = running.open_issue(REPO)
    running.finished(execution_id)
    [echo] = wait_for(lambda: [one for one in running.github.webhooks if one.done])
    [ours] = running.github.comments(REPO, 7)
    stripped = running.deliver(
        issue_comment_payload(REPO, 7, ours.id, "Thank you.", "aether-person"),
        event="issue_comment",
    )
    person = running.deliver(
        issue_comment_payload(REPO, 7, 501_000, "And now?", "aether-person"),
        event="issue_comment",
    )

    assert echo.status == 200
    assert '"status":"ignored"' in echo.answer
    assert stripped.json()["executions"] == []
    assert stripped.json()["canonical_trigger"] == "issue.commented"
    assert person.json()["status"] == "accepted"
    [second] = person.json()["executions"]
    assert running.finished(second)["status"] == "succeeded"
    assert len(comments(running)) == 2
