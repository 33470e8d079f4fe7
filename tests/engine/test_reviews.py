"""A pull request is reviewed once, harmlessly, and never wakes us."""

import json
from typing import Any

import pytest

from aether.db import rows
from aether.demo.github_state import PullFile
from aether.demo.model import Reply, by_turn
from aether.engine.execute import execute
from aether.engine.receive import Receipt, receive
from aether.models import Approval, Delivery, Effect, TaskDefinition, TaskExecution, ToolExecution
from aether.sources import SOURCES
from tests.engine import test_execute as base
from tests.engine.test_execute import CALL, REPO, World

world = base.world
make = base.make
REVIEW: dict[str, Any] = {
    "verdict": "request_changes",
    "body": "Not yet, @acme/all: fixes #12.",
    "comments": [
        {"path": "src/parser.py", "line": 7, "body": "cc @ann"},
        {"path": "src/parser.py", "line": 3, "side": "old", "body": "Why?"},
    ],
}


async def opened(world: World, number: int = 9, author: str = "octocat") -> int:
    """A pull request, and the execution that it started."""
    for trigger in ("pr.opened", "pr.reviewed", "pr.commented"):
        await rows(
            """INSERT INTO trigger_task_mapping (canonical_trigger, task_id) VALUES ($1, 'triage')
               ON CONFLICT DO NOTHING""",
            trigger,
        )
    files = [PullFile(filename="src/parser.py")]
    world.github.add_pull(REPO, number, "Mend it", "So.", author, files=files)
    receipt = await told(world, "pull_request", world.github.opened_payload(REPO, number))
    assert receipt.status == "accepted"
    return receipt.executions[0]


async def told(world: World, event: str, payload: Any) -> Receipt:
    body = json.dumps(payload).encode()
    headers = {"x-github-event": event, "x-github-delivery": f"{event}-{hash(body)}"}
    return await receive(world.runtime, SOURCES[0].extract(headers, body), slug="github")


def reviews(world: World, number: int = 9) -> list[Any]:
    pull = world.github.issue(REPO, number).pull
    assert pull is not None
    return pull.reviews


async def work(world: World, execution_id: int, *replies: Any) -> TaskExecution:
    world.model.say(by_turn(list(replies)))
    await execute(world.runtime, execution_id)
    return await TaskExecution.get(id=execution_id)


async def test_a_review_has_a_verdict_a_text_and_remarks_and_all_of_it_is_harmless(
    world: World,
) -> None:
    execution_id = await opened(world)

    done = await work(
        world, execution_id, Reply.calls(CALL("submit_review", REVIEW, "c1")), Reply.text("Done.")
    )

    assert done.status == "succeeded"
    [review] = reviews(world)
    marker = (await Effect.get(kind="review")).marker
    mark = f"\n\n<!-- aether:{marker} -->"
    assert review.state == "CHANGES_REQUESTED"
    assert review.body == f"Not yet, @\u200bacme/all: fixes\u200b #12.{mark}"
    assert review.comments == [
        {"path": "src/parser.py", "line": 7, "side": "RIGHT", "body": f"cc @\u200bann{mark}"},
        {"path": "src/parser.py", "line": 3, "side": "LEFT", "body": f"Why?{mark}"},
    ]
    assert (await ToolExecution.get()).result.startswith("Review submitted. http")


async def test_a_review_whose_answer_was_lost_is_found_by_its_marker(world: World) -> None:
    execution_id = await opened(world)
    world.github.drop_after_commit_next("POST", "reviews")
    call = Reply.calls(CALL("submit_review", REVIEW, "c1"))
    lost = await work(world, execution_id, call, Reply.text("Done."))

    done = await world.again(execution_id)

    assert (lost.status, done.status) == ("retrying", "succeeded")
    [review] = reviews(world)
    effect = await Effect.get(kind="review")
    assert (effect.status, effect.platform_id) == ("sent", str(review.id))


async def test_the_webhook_of_our_review_starts_nothing_and_a_person_s_does(world: World) -> None:
    execution_id = await opened(world)
    hook = world.github.hook("http://127.0.0.1:9/", None)
    call = Reply.calls(CALL("submit_review", {"verdict": "comment", "body": "Good."}, "c1"))
    await work(world, execution_id, call, Reply.text("Done."))
    world.github.unhook(hook)
    [review] = reviews(world)
    pull = world.github.opened_payload(REPO, 9)["issue"]
    shown = {
        "id": review.id, "body": review.body, "state": "commented", "user": {"login": "aether"},
        "submitted_at": "2026-02-18T10:00:00Z",
    }  # fmt: skip
    about = {
        "action": "submitted", "pull_request": pull, "repository": {"full_name": REPO, "id": 1},
        "sender": {"login": "aether-person", "type": "User"},
    }  # fmt: skip

    ours = await told(world, "pull_request_review", {**about, "review": shown})
    theirs = {**shown, "id": review.id + 1, "body": "Better."}
    by_ann = await told(world, "pull_request_review", {**about, "review": theirs})

    assert (ours.canonical_trigger, ours.status) == ("pr.reviewed", "ignored")
    assert (await Delivery.get(id=ours.delivery_id)).reason == (
        "our own doing: it carries our marker"
    )
    assert by_ann.status == "accepted"


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        ({"verdict": "approve", "body": "Good."}, "failed", "Can not approve your own"),
        ({"verdict": "request_changes"}, "refused", "body: request_changes must say something"),
        (
            {"verdict": "comment", "body": "x", "comments": [
                {"path": "nowhere.py", "line": 1, "body": "y"}]},
            "failed", "Path could not be resolved",
        ),
        ({"verdict": "merge", "body": "x"}, "failed", "verdict"),
    ],
)  # fmt: skip
async def test_what_cannot_be_reviewed_so_is_told_to_the_model_and_nothing_is_there(
    world: World, arguments: dict[str, Any], status: str, error: str
) -> None:
    execution_id = await opened(world, author="aether-person")

    done = await work(
        world, execution_id, Reply.calls(CALL("submit_review", arguments, "c1")), Reply.text("So.")
    )

    tried = await ToolExecution.get()
    assert (done.status, tried.status) == ("succeeded", status)
    assert error in str(tried.error)
    assert reviews(world) == []


async def test_a_person_is_asked_before_a_review_where_the_task_says_so(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(approve_tools=["submit_review"])
    execution_id = await opened(world)
    call = Reply.calls(CALL("submit_review", REVIEW, "c1"))

    waiting = await work(world, execution_id, call, Reply.text("Done."))

    assert waiting.status == "waiting_approval"
    assert (await Approval.get()).status == "pending"
    assert reviews(world) == []


async def test_with_updates_switched_off_no_review_is_sent(world: World) -> None:
    settings = world.runtime.settings
    world.runtime.settings = settings.model_copy(update={"tracker_updates_enabled": False})
    execution_id = await opened(world)
    call = Reply.calls(CALL("submit_review", REVIEW, "c1"))

    await work(world, execution_id, call, Reply.text("Done."))

    assert reviews(world) == []
    tried = await ToolExecution.get()
    assert tried.result is not None
    assert "not sent: writing to the tracker is switched off." in tried.result
