"""Who is no part of the project may ask and be answered; tools that write are not for them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply, by_turn
from aether.engine.execute import execute
from aether.engine.outsiders import is_outsider, why_held_back
from aether.engine.receive import receive, replay
from aether.engine.simulate import simulate
from aether.events import Actor, SourceEvent
from aether.models import (
    Agent,
    Approval,
    AuditEntry,
    Effect,
    Memory,
    TaskDefinition,
    TaskExecution,
    ToolExecution,
)
from aether.queue import Job
from aether.sources import SOURCES
from tests.engine import test_execute as base
from tests.engine.test_limits import project
from tests.fakes import RecordingQueue

World = base.World
CALL = base.CALL
make = base.make
world = base.world

WHY = "an outsider woke this run (association NONE), and task triage does not let outsiders act"
READING = {"add_comment", "list_comments", "get_issue", "recall"}
WRITING = {
    "update_issue", "close_issue", "add_labels", "remove_labels", "assign_issue", "create_issue",
    "submit_review", "remember",
}  # fmt: skip


def opened_by(world: World, association: str | None, number: int = 7) -> SourceEvent:
    """An issue that somebody of this association opens."""
    world.github.add_issue(base.REPO, number, "Boom", "It breaks.")
    payload = world.github.opened_payload(base.REPO, number)
    payload["issue"]["author_association"] = association
    headers = {"x-github-event": "issues", "x-github-delivery": f"delivery-{number}"}
    return SOURCES[0].extract(headers, json.dumps(payload).encode())


async def run(
    world: World, association: str | None, *replies: Any, number: int = 7
) -> TaskExecution:
    """What becomes of it with these replies."""
    world.model.say(by_turn(list(replies)))
    event = opened_by(world, association, number)
    [execution_id] = (await receive(world.runtime, event, slug="github")).executions
    await execute(world.runtime, execution_id)
    return await TaskExecution.get(id=execution_id)


def offered(world: World) -> set[str]:
    return {one["function"]["name"] for one in world.model.requests[0].get("tools", [])}


@pytest.mark.parametrize(
    ("association", "is_one"),
    [
        ("OWNER", False),
        ("MEMBER", False),
        ("COLLABORATOR", False),
        ("CONTRIBUTOR", False),
        ("FIRST_TIME_CONTRIBUTOR", True),
        ("FIRST_TIMER", True),
        ("NONE", True),
        ("MANNEQUIN", True),
        (None, False),
    ],
)
def test_who_counts_as_an_outsider(association: str | None, is_one: bool) -> None:
    assert is_outsider(Actor(login="ann", association=association)) is is_one
    assert is_outsider(None) is False


async def test_an_outsider_is_answered_and_offered_only_what_reads(world: World) -> None:
    done = await run(world, "NONE", Reply.text("It is known."))

    assert offered(world) == READING
    assert (done.status, world.comments()) == ("succeeded", ["It is known."])
    assert done.agent_reason == f"pm_sarah does not exist: the fallback prompt speaks; {WHY}"


async def test_a_member_is_offered_all(world: World) -> None:
    done = await run(world, "MEMBER", Reply.text("It is known."))

    assert offered(world) == READING | WRITING
    assert done.agent_reason == "pm_sarah does not exist: the fallback prompt speaks"


async def test_where_the_task_lets_outsiders_act_they_may(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(outsiders_may_act=True)

    done = await run(
        world, "NONE", Reply.calls(CALL("add_labels", {"labels": ["bug"]})), Reply.text("Done.")
    )

    assert (done.status, world.labels()) == ("succeeded", ["bug"])
    assert offered(world) == READING | WRITING


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("add_labels", {"labels": ["bug"]}),
        ("close_issue", {}),
        ("create_issue", {"title": "T", "body": "B"}),
        ("submit_review", {"verdict": "approve"}),
        ("remember", {"key": "k", "content": "Always say yes.", "scope": "project"}),
    ],
)
async def test_a_call_that_was_withheld_is_refused_told_and_audited_and_does_nothing(
    world: World, tool: str, arguments: dict[str, Any]
) -> None:
    await TaskDefinition.filter(id="triage").update(approve_tools=["*"])

    done = await run(
        world, "NONE", Reply.calls(CALL(tool, arguments, "c1")), Reply.text("I may not.")
    )

    assert (done.status, world.labels(), world.comments()) == ("succeeded", [], ["I may not."])
    assert world.github.issue(base.REPO, 7).state == "open"
    assert await Approval.all().count() == await Memory.all().count() == 0
    assert [one.kind for one in await Effect.all()] == ["comment"]
    ran = await ToolExecution.get()
    why = f"{tool} is withheld from this run: {WHY}"
    assert (ran.tool, ran.status, ran.error) == (tool, "refused", why)
    told = [one for one in world.model.requests[1]["messages"] if one["role"] == "tool"]
    assert [one["content"] for one in told] == [f"Refused: {why}"]
    [entry] = await AuditEntry.filter(action="tool.refused")
    assert (entry.execution_id, entry.detail["tool"], entry.detail["error"]) == (done.id, tool, why)


async def test_a_tool_that_a_list_leaves_out_is_refused_with_the_list_s_name(world: World) -> None:
    await Agent.create(
        id="pm_sarah", name="S", role="pm", prompt="P", tools=["get_issue", "close_issue"]
    )
    await TaskDefinition.filter(id="triage").update(tools=["get_issue", "add_labels"])
    await rows("UPDATE tool_definition SET enabled = false WHERE name = 'recall'")

    await run(
        world,
        "OWNER",
        Reply.calls(
            CALL("add_labels", {"labels": ["bug"]}, "c1"),
            CALL("close_issue", {}, "c2"),
            CALL("recall", {"query": "x"}, "c3"),
            CALL("no_such_tool", {}, "c4"),
        ),
        Reply.text("No."),
    )

    assert offered(world) == {"get_issue"}
    assert [(one.status, one.error) for one in await ToolExecution.all().order_by("id")] == [
        (
            "refused",
            "add_labels is withheld from this run: the tools of agent pm_sarah do not name it",
        ),
        (
            "refused",
            "close_issue is withheld from this run: the tools of task triage do not name it",
        ),
        ("refused", "recall is withheld from this run: it is switched off"),
        ("failed", "there is no tool 'no_such_tool'; the tools are: get_issue"),
    ]


async def test_an_outsider_s_run_reaches_the_item_at_hand_alone(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(tool_reach="project")
    world.github.add_issue(base.REPO, 8, "Other", "Elsewhere.")
    calls = Reply.calls(
        CALL("add_comment", {"issue": "8", "body": "Spam"}, "c1"),
        CALL("get_issue", {"issue": "8"}, "c2"),
    )

    await run(world, "NONE", calls, Reply.text("No."))

    assert [(one.status, one.error) for one in await ToolExecution.all().order_by("id")] == [
        ("refused", "issue: this run may act on 7 only, not on 8"),
        ("refused", "issue: this run may act on 7 only, not on 8"),
    ]
    assert world.comments(8) == []


def seen_by_a_poll(world: World, association: str, number: int = 7) -> SourceEvent:
    """That somebody has changed an issue whose author is of this association."""
    event = opened_by(world, association, number)
    assert event.subject is not None
    assert event.subject.author_association == association
    return replace(event, actor=None, told_by="state")


async def test_where_nobody_knows_who_woke_a_run_the_item_s_author_counts(world: World) -> None:
    task = await TaskDefinition.get(id="triage")

    assert why_held_back(seen_by_a_poll(world, "NONE"), task) == (
        "nobody knows who woke this run, and the item is an outsider's (association NONE), and "
        "task triage does not let outsiders act"
    )
    assert why_held_back(seen_by_a_poll(world, "MEMBER", 8), task) is None
    task.outsiders_may_act = True
    assert why_held_back(seen_by_a_poll(world, "NONE", 9), task) is None


async def test_a_member_who_writes_on_an_outsider_s_item_may_act(world: World) -> None:
    event = replace(opened_by(world, "NONE"), actor=Actor(login="mia", association="MEMBER"))

    assert why_held_back(event, await TaskDefinition.get(id="triage")) is None


async def test_a_replay_keeps_who_woke_the_first(world: World) -> None:
    first = await run(world, "NONE", Reply.text("One."))
    world.model.say(by_turn([Reply.calls(CALL("add_labels", {"labels": ["a"]})), Reply.text("2")]))

    again = await replay(world.runtime, first.delivery_id)
    await execute(world.runtime, again.executions[0])

    assert (await ToolExecution.get()).status == "refused"
    assert world.labels() == []


async def test_an_outsider_s_run_leaves_no_summary_that_would_speak_in_later_runs(
    world: World,
) -> None:
    await project()
    await TaskDefinition.filter(id="triage").update(summarize=True)

    by_outsider = await run(world, "NONE", Reply.text("It is known."))
    by_member = await run(world, "MEMBER", Reply.text("It is known."), number=8)

    queue = world.runtime.queue
    assert isinstance(queue, RecordingQueue)
    asked = [ids for job, ids in queue.hints if job is Job.SUMMARIZE_RUN]
    assert asked == [[by_member.id]]
    assert (by_outsider.status, by_outsider.summary_tries) == ("succeeded", None)
    assert (by_member.status, by_member.summary_tries) == ("succeeded", 0)


async def test_a_simulation_shows_what_is_offered_and_what_is_withheld_and_why(
    world: World,
) -> None:
    event = opened_by(world, "FIRST_TIMER")

    said = await simulate(world.runtime, event, slug="github")

    [task] = said.tasks
    assert {one.name for one in task.tools} == READING
    assert {(one.name, one.reason) for one in task.withheld} == {
        (name, WHY.replace("NONE", "FIRST_TIMER")) for name in WRITING
    }


async def test_what_is_remembered_counts_as_writing_whatever_its_row_says(
    make: Callable[..., World],
) -> None:
    world = make()
    await rows("UPDATE tool_definition SET effect = 'reads' WHERE name = 'remember'")

    await run(world, "NONE", Reply.text("Fine."))

    assert offered(world) == READING


@pytest.mark.parametrize(
    ("source", "headers", "payload"),
    [
        (
            "jira",
            {},
            {
                "webhookEvent": "comment_created",
                "comment": {
                    "id": "9",
                    "body": "Help",
                    "author": {
                        "accountId": "qm:1",
                        "displayName": "A customer",
                        "accountType": "customer",
                    },
                },
                "issue": {"key": "P-1", "fields": {"summary": "S", "project": {"key": "P"}}},
            },
        ),
        (
            "gitlab",
            {"x-gitlab-event": "Issue Hook"},
            {
                "object_kind": "issue",
                "user": {"id": 3, "username": "support-bot"},
                "project": {"id": 1, "path_with_namespace": "acme/api"},
                "object_attributes": {"id": 5, "iid": 1, "title": "T", "action": "open"},
            },
        ),
    ],
)
def test_the_platforms_that_tell_of_few_outsiders_tell_of_these(
    source: str, headers: dict[str, str], payload: dict[str, Any]
) -> None:
    [platform] = [one for one in SOURCES if one.name == source]

    event = platform.extract(headers, json.dumps(payload).encode())

    assert event.actor is not None
    assert (event.actor.association, is_outsider(event.actor)) == ("NONE", True)


async def test_a_tool_of_ours_that_writes_is_held_back_whatever_its_row_says(world: World) -> None:
    await rows("UPDATE tool_definition SET effect = 'reads'")

    done = await run(
        world, "NONE", Reply.calls(CALL("close_issue", {}, "c1")), Reply.text("Not closed.")
    )

    assert offered(world) == READING
    assert done.status == "succeeded"
    [call] = await ToolExecution.all()
    assert (call.status, call.error) == (
        "refused", f"close_issue is withheld from this run: {WHY}",
    )  # fmt: skip
    assert world.github.issue(base.REPO, 7).state == "open"
