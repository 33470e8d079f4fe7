"""From a GitLab delivery to what is written there: the whole engine, a scripted model."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import rows
from aether.demo.model import Reply, ScriptedModel, ToolCallScript, by_turn
from aether.demo.serving import serving
from aether.engine.execute import execute
from aether.engine.filters import FilterPool
from aether.engine.receive import Receipt, receive
from aether.engine.runtime import Runtime
from aether.llm import chat
from aether.models import (
    Agent,
    AuditEntry,
    Delivery,
    Effect,
    Memory,
    SourceEventMapping,
    TaskDefinition,
    TaskExecution,
    ToolExecution,
    TriggerTaskMapping,
)
from aether.sources.gitlab import GitLab
from aether.vocabulary import AnswerMode, MemoryScope
from resolvers.seeding import seed
from tests.fakes import RecordingQueue
from tests.sources.gitlab import state
from tests.sources.gitlab.conftest import PROJECT, TOKEN
from tests.sources.gitlab.hooks import delivery
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item

CALL: Final = ToolCallScript
TRIGGERS: Final = (
    "issue.created", "issue.updated", "issue.closed", "issue.commented", "pr.opened", "pr.merged",
    "pr.reviewed", "pr.commented", "deployment.completed",
)  # fmt: skip


@dataclass
class World:
    """One task on every trigger, a GitLab, a model to script, and the runtime."""

    runtime: Runtime
    gitlab: GitLabStandIn
    model: ScriptedModel

    async def deliver(self, told: tuple[str, Any], **more: Any) -> Receipt:
        """Take in the delivery of an event, as it would come over the wire."""
        headers, body = delivery(*told, token="t", **more)
        read = GitLab().extract({name.lower(): one for name, one in headers.items()}, body)
        return await receive(self.runtime, read, slug="gitlab")

    async def run(self, told: tuple[str, Any], *replies: Any) -> TaskExecution:
        """Deliver an event and work on its one execution with these replies, one a turn."""
        self.model.say(by_turn([*replies, Reply.text("Done.")]))
        receipt = await self.deliver(told)
        assert receipt.status == "accepted", receipt
        [execution_id] = receipt.executions
        await execute(self.runtime, execution_id)
        return await TaskExecution.get(id=execution_id)


@pytest.fixture
async def world(database: str, gitlab: GitLabStandIn, gitlab_url: str) -> AsyncIterator[World]:
    model = ScriptedModel()
    with serving(model.app) as model_url:
        settings = Settings.from_environment(
            {
                "DATABASE_URL": database,
                "GITLAB_URL": gitlab_url,
                "GITLAB_TOKEN": TOKEN,
                "LLM_BASE_URL": f"{model_url}/v1",
                "LLM_API_KEY": model.key,
                "LLM_MODEL": model.models[0],
            }
        )
        for name in ("source_event_mappings", "tools"):
            await seed(name)
        await Agent.create(id="pm_sarah", name="Sarah", role="pm", prompt="You are Sarah.")
        await TaskDefinition.create(
            id="triage", name="Triage", description="Say what it is.", actor_id="pm_sarah"
        )
        for trigger in TRIGGERS:
            await TriggerTaskMapping.create(canonical_trigger=trigger, task_id="triage")
        runtime = Runtime(
            settings=settings,
            queue=RecordingQueue(),
            filters=FilterPool(),
            credentials=Credentials(settings),
        )
        yield World(runtime=runtime, gitlab=gitlab, model=model)
        await runtime.filters.close()
        await runtime.credentials.close()
        await chat.close()


@pytest.fixture
def issue(gitlab: GitLabStandIn) -> Item:
    return gitlab.add_issue(PROJECT, "It breaks", "On start.", labels=["bug"])


def said(item: Item) -> list[str]:
    return [re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", note.body) for note in item.notes]


async def test_an_opened_issue_is_answered_by_one_note_whichever_hooks_tell_of_it(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    opened = gitlab.told(PROJECT, issue, "open")

    done = await world.run(opened, Reply.text("It is the parser."))
    retried = await world.deliver(opened, delivery_id="another")
    by_system = await world.deliver(("System Hook", opened[1]))

    assert (done.status, done.answer) == ("succeeded", "It is the parser.")
    assert said(issue) == ["It is the parser."]
    assert done.answer_url == f"{issue.web_url(gitlab.project(PROJECT))}#note_{issue.notes[0].id}"
    assert {one.status for one in (retried, by_system)} == {"duplicate"}
    assert await Delivery.all().count() == 1


async def test_every_tool_acts_on_the_issue_at_hand(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.add_user("bob")
    gitlab.project(PROJECT).members.add("bob")
    gitlab.add_note(issue, "Me too.", "eve")
    calls = [
        CALL("get_issue", {}, "c1"),
        CALL("list_comments", {}, "c2"),
        CALL("add_labels", {"labels": ["debt"]}, "c3"),
        CALL("remove_labels", {"labels": ["bug"]}, "c4"),
        CALL("assign_issue", {"assignees": ["@bob"]}, "c5"),
        CALL("update_issue", {"title": "Parser breaks", "body": "Always."}, "c6"),
        CALL("create_issue", {"title": "Part", "body": "Of it.", "labels": ["debt"]}, "c7"),
        CALL("add_comment", {"body": "I split it."}, "c8"),
        CALL("close_issue", {"reason": "completed"}, "c9"),
    ]

    done = await world.run(gitlab.told(PROJECT, issue, "open"), Reply.calls(*calls))

    tools = await ToolExecution.all().order_by("id")
    assert {one.tool: one.status for one in tools} == {one.name: "succeeded" for one in calls}
    assert json.loads(tools[0].result or "")["labels"] == ["bug"]
    assert [one["body"] for one in json.loads(tools[1].result or "")["comments"]] == ["Me too."]
    assert (issue.title, issue.description, issue.state) == ("Parser breaks", "Always.", "closed")
    assert (issue.labels, [one.username for one in issue.assignees]) == (["debt"], ["bob"])
    part = gitlab.project(PROJECT).issues[2]
    assert (part.title, part.labels) == ("Part", ["debt"])
    assert said(issue) == ["Me too.", "I split it."]
    assert done.status == "succeeded"


async def test_what_we_did_starts_nothing_and_what_a_person_does_starts_a_run(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.add_user("bob")
    project = gitlab.project(PROJECT)
    project.members.add("bob")
    gitlab.hook("http://127.0.0.1:9/nowhere")
    calls = [
        CALL("add_labels", {"labels": ["debt"]}, "c1"),
        CALL("assign_issue", {"assignees": ["bob"]}, "c2"),
        CALL("update_issue", {"title": "Parser breaks"}, "c3"),
        CALL("create_issue", {"title": "Part", "body": "Of it."}, "c4"),
        CALL("close_issue", {}, "c5"),
    ]
    await world.run(gitlab.told(PROJECT, issue, "open"), Reply.calls(*calls))
    async with asyncio.timeout(10):
        while len(gitlab.webhooks) < 6:  # noqa: ASYNC110 # the stand-in lives in another thread
            await asyncio.sleep(0.01)
    echoes = [(one.event, one.payload) for one in gitlab.webhooks]

    receipts = [await world.deliver(told) for told in echoes]
    reasons = [one.reason for one in await Delivery.filter(status="ignored").order_by("id")]
    [note] = issue.notes
    stripped = {**echoes[-1][1]["object_attributes"], "note": "Done."}
    again = await world.deliver((echoes[-1][0], {**echoes[-1][1], "object_attributes": stripped}))
    person = gitlab.add_note(issue, "And now?", "aether-person")
    by_person = await world.deliver(gitlab.told_note(PROJECT, issue, person))
    labelled = state.item_body(project, issue, gitlab.add_user("ann"), "update", {
        "labels": {"previous": [], "current": state.labels_told(["debt", "urgent"])},
    })  # fmt: skip
    by_ann = await world.deliver(labelled)

    assert [one[1]["object_attributes"]["action"] for one in echoes] == [
        "update", "update", "update", "open", "close", "create",
    ]  # fmt: skip
    assert {one.status for one in receipts} == {"ignored"}
    assert all((reason or "").startswith("our own doing: ") for reason in reasons)
    assert len(reasons) == 6
    assert again.executions == []
    assert note.author.username == "aether-person"
    assert (by_person.status, by_ann.status) == ("accepted", "accepted")


async def test_what_a_bots_token_does_starts_nothing_at_all(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.accept(TOKEN, "project_80000000_bot_0a1b2c3d", bot=True)
    await world.run(gitlab.told(PROJECT, issue, "open"), Reply.text("It is the parser."))
    other = gitlab.add_issue(PROJECT, "Another", author="project_80000000_bot_0a1b2c3d")

    receipt = await world.deliver(
        gitlab.told(PROJECT, other, "open", "project_80000000_bot_0a1b2c3d")
    )

    assert receipt.status == "ignored"
    assert (await Delivery.get(id=receipt.delivery_id)).reason == (
        "our own doing: project_80000000_bot_0a1b2c3d is our bot account"
    )


async def test_a_note_whose_answer_was_lost_is_found_by_its_marker(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.faults.drop_after_commit_next("POST", "notes")

    lost = await world.run(gitlab.told(PROJECT, issue, "open"), Reply.text("Once."))
    between = said(issue)
    await rows("UPDATE task_execution SET run_after = NULL")
    await execute(world.runtime, lost.id)

    done = await TaskExecution.get(id=lost.id)
    assert (lost.status, done.status) == ("retrying", "succeeded")
    assert between == said(issue) == ["Once."]
    assert (await Effect.get(kind="comment")).platform_id == str(issue.notes[0].id)


async def test_an_issue_whose_creation_was_lost_is_found_by_its_marker(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.faults.drop_after_commit_next("POST", "issues$")
    call = CALL("create_issue", {"title": "Part", "body": "Of it."}, "c1")

    lost = await world.run(gitlab.told(PROJECT, issue, "open"), Reply.calls(call))
    await rows("UPDATE task_execution SET run_after = NULL")
    await execute(world.runtime, lost.id)

    assert (await TaskExecution.get(id=lost.id)).status == "succeeded"
    assert [one.title for one in gitlab.project(PROJECT).issues.values()] == ["It breaks", "Part"]


@pytest.mark.parametrize("is_note", [False, True])
async def test_what_not_everybody_may_read_is_remembered_for_its_run_alone(
    world: World, gitlab: GitLabStandIn, issue: Item, *, is_note: bool
) -> None:
    scopes = [one.value for one in MemoryScope]
    await TaskDefinition.all().update(memory_scopes=scopes, summarize=True)
    if is_note:
        note = gitlab.add_note(issue, "The customer is ACME.", "ann", internal=True)
        told = gitlab.told_note(PROJECT, issue, note)
    else:
        issue.confidential = True
        told = gitlab.told(PROJECT, issue, "open")
    calls = [
        CALL("remember", {"key": "k", "content": "ACME", "scope": scope}, scope) for scope in scopes
    ]

    done = await world.run(told, Reply.calls(*calls))

    hidden = "internal" if is_note else "confidential"
    ran = await ToolExecution.all().order_by("id")
    why = f"scope: what is {hidden} may only be remembered for this run (task)"
    assert [one.error for one in ran] == [None, why, why, why]
    assert [one.scope for one in await Memory.all()] == ["task"]
    [entry] = await AuditEntry.filter(action="task.completed")
    assert entry.detail["no_summary"] == f"it is about what is {hidden}"
    assert (done.status, done.summary_tries) == ("succeeded", None)


async def test_an_internal_note_is_answered_internally_and_begets_confidential_issues(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    note = gitlab.add_note(issue, "A customer says…", "ann", internal=True)
    call = CALL("create_issue", {"title": "Part", "body": "Of it."}, "c1")

    done = await world.run(
        gitlab.told_note(PROJECT, issue, note), Reply.calls(call), Reply.text("I see.")
    )

    assert (done.canonical_trigger, done.status) == ("issue.commented", "succeeded")
    assert [one.internal for one in issue.notes] == [True, True]
    assert gitlab.project(PROJECT).issues[2].confidential


async def test_merge_requests_are_answered_when_opened_reviewed_and_commented_on(
    world: World, gitlab: GitLabStandIn
) -> None:
    request = gitlab.add_merge_request(PROJECT, "Mend it", "So.")
    note = gitlab.add_note(request, "Nearly.", "bob")
    told = [
        gitlab.told(PROJECT, request, "open"),
        gitlab.told(PROJECT, request, "approved", "bob"),
        gitlab.told(PROJECT, request, "approval", "eve"),
        gitlab.told_note(PROJECT, request, note),
        gitlab.told(PROJECT, request, "merge"),
    ]

    done = [await world.run(one, Reply.text("Noted.")) for one in told]
    taken_back = await world.deliver(gitlab.told(PROJECT, request, "unapproved", "bob"))

    assert [one.canonical_trigger for one in done] == [
        "pr.opened", "pr.reviewed", "pr.reviewed", "pr.commented", "pr.merged",
    ]  # fmt: skip
    assert {one.status for one in done} == {"succeeded"}
    assert said(request) == ["Nearly.", *["Noted."] * 5]
    assert (taken_back.status, taken_back.canonical_trigger) == ("ignored", None)


@pytest.mark.parametrize("status", ["success", "failed", "canceled"])
async def test_a_deployment_that_ended_is_worked_on_and_its_answer_is_recorded_only(
    world: World, gitlab: GitLabStandIn, status: str
) -> None:
    running = gitlab.add_deployment(PROJECT, "running")
    project = gitlab.project(PROJECT)
    started = await world.deliver(state.deployment_body(project, running))
    running.status = status

    done = await world.run(state.deployment_body(project, running), Reply.text("It is live."))

    assert started.status == "ignored"
    assert (done.canonical_trigger, done.status, done.answer) == (
        "deployment.completed", "succeeded", "It is live.",
    )  # fmt: skip
    assert [call.method for call in gitlab.calls] == []


async def test_an_epic_of_a_group_is_worked_on_and_its_answer_is_recorded_only(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    name, payload = gitlab.told(PROJECT, issue, "open")
    payload["object_attributes"] |= {
        "type": "Epic",
        "project_id": None,
        "url": "https://gitlab.example.com/gitlab/groups/acme/-/work_items/1",
    }
    epic = {**payload, "object_kind": "work_item", "project": None}

    done = await world.run((name, epic), Reply.text("Seen."))

    assert (done.canonical_trigger, done.status, done.answer) == (
        "issue.created", "succeeded", "Seen.",
    )  # fmt: skip
    assert gitlab.calls == []


async def test_the_hooks_test_button_starts_nothing_even_where_any_action_is_mapped(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    await SourceEventMapping.create(
        source="gitlab", event_name="Issue Hook", action=None, canonical_trigger="issue.created"
    )

    receipt = await world.deliver(gitlab.told(PROJECT, issue, None))

    assert (receipt.status, receipt.canonical_trigger) == ("ignored", "issue.created")
    assert (await Delivery.get()).reason == "a ping"


async def test_a_refusal_of_gitlab_fails_the_run_and_says_why(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    gitlab.accept(TOKEN, "aether-person", scopes=("read_api",))

    done = await world.run(gitlab.told(PROJECT, issue, "open"), Reply.text("It is the parser."))

    assert done.status == "failed"
    assert "insufficient_scope" in (done.error or "")
    assert "needs the scope api" in (done.error or "")
    assert said(issue) == []


async def test_a_task_with_one_comment_for_an_item_edits_its_note(
    world: World, gitlab: GitLabStandIn, issue: Item
) -> None:
    await TaskDefinition.filter(id="triage").update(answer_mode=AnswerMode.UPDATE)
    await world.run(gitlab.told(PROJECT, issue, "open"), Reply.text("One."))
    note = gitlab.add_note(issue, "And now?")
    internal = gitlab.add_note(issue, "A customer asks.", internal=True)

    await world.run(gitlab.told_note(PROJECT, issue, note), Reply.text("Two."))
    await world.run(gitlab.told_note(PROJECT, issue, internal), Reply.text("For us."))

    assert said(issue) == ["Two.", "And now?", "A customer asks.", "For us."]
    assert [one.internal for one in issue.notes] == [False, False, True, True]
    edit = gitlab.told_note(PROJECT, issue, issue.notes[0], "update")
    assert (await world.deliver(edit)).status == "ignored"


REVIEW: Final[dict[str, Any]] = {
    "verdict": "request_changes",
    "body": "Not yet, @all.",
    "comments": [
        {"path": "src/parser.py", "line": 7, "body": "Here."},
        {"path": "src/parser.py", "line": 3, "side": "old", "body": "Why?"},
    ],
}


def reviewed(item: Item) -> list[tuple[str, Any]]:
    """Texts of the notes, each with where it is."""
    return [
        (
            re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one.body),
            one.position and (one.position["new_path"], one.position.get("new_line")),
        )
        for one in item.notes
    ]


async def test_a_merge_request_is_reviewed_once_whatever_was_lost_and_its_echoes_start_nothing(
    world: World, gitlab: GitLabStandIn
) -> None:
    request = gitlab.add_merge_request(PROJECT, "Mend it", "So.")
    request.approved_by.append(gitlab.add_user("aether-person"))
    world.model.say(by_turn([Reply.calls(CALL("submit_review", REVIEW, "c1")), Reply.text("")]))
    for path in ("discussions", "unapprove", "notes"):
        gitlab.faults.drop_after_commit_next("POST", path)
    receipt = await world.deliver(gitlab.told(PROJECT, request, "open"))
    [execution_id] = receipt.executions

    for _ in range(4):
        await rows("UPDATE task_execution SET run_after = NULL")
        await execute(world.runtime, execution_id)
    world.model.say(by_turn([Reply.text("Said so."), Reply.text("Said so.")]))
    await rows("UPDATE task_execution SET run_after = NULL, status = 'queued', tries = 0")
    await execute(world.runtime, execution_id)

    assert reviewed(request)[:3] == [
        ("Here.", ("src/parser.py", 7)), ("Why?", ("src/parser.py", None)),
        ("Not yet, @\u200ball.", None),
    ]  # fmt: skip
    assert [one for one in reviewed(request)[3:] if one[0] != "Said so."] == []
    assert request.approved_by == []
    effect = await Effect.get(kind="review")
    assert (effect.status, effect.platform_id) == ("sent", str(request.notes[2].id))
    echoes = [gitlab.told_note(PROJECT, request, one) for one in request.notes[:3]]
    echoes.append(gitlab.told(PROJECT, request, "unapproved", "aether-person"))
    assert {(await world.deliver(one)).status for one in echoes} == {"ignored"}


async def test_an_approval_without_a_word_is_given_once_and_leaves_no_empty_note(
    world: World, gitlab: GitLabStandIn
) -> None:
    request = gitlab.add_merge_request(PROJECT, "Mend it", "So.")
    call = CALL("submit_review", {"verdict": "approve"}, "c1")

    done = await world.run(
        gitlab.told(PROJECT, request, "open"), Reply.calls(call), Reply.text("Approved.")
    )

    assert done.status == "succeeded"
    assert [one.username for one in request.approved_by] == ["aether-person"]
    assert said(request) == ["Approved."]
    echo = await world.deliver(gitlab.told(PROJECT, request, "approved", "aether-person"))
    by_bob = await world.deliver(gitlab.told(PROJECT, request, "unapproved", "bob"))
    assert (echo.status, by_bob.status) == ("ignored", "ignored")
    delivery_of_echo = await Delivery.get(id=echo.delivery_id)
    assert str(delivery_of_echo.reason).startswith("our own doing")


async def test_what_gitlab_refuses_of_a_review_is_told_to_the_model(
    world: World, gitlab: GitLabStandIn
) -> None:
    mine = gitlab.add_merge_request(PROJECT, "Mine", author="aether-person")
    call = CALL("submit_review", {"verdict": "approve", "body": "Good."}, "c1")

    await world.run(gitlab.told(PROJECT, mine, "open"), Reply.calls(call), Reply.text("I cannot."))

    tried = await ToolExecution.get()
    assert tried.status == "failed"
    assert "may not approve it: its own merge request" in str(tried.error)
    assert said(mine) == ["I cannot."]


async def test_an_internal_note_gets_no_review_that_everybody_reads(
    world: World, gitlab: GitLabStandIn
) -> None:
    request = gitlab.add_merge_request(PROJECT, "Mend it", "So.")
    note = gitlab.add_note(request, "Have a look.", internal=True)
    inner = {"verdict": "comment", "body": "For us."}
    calls = [CALL("submit_review", REVIEW, "c1"), CALL("submit_review", inner, "c2")]

    await world.run(
        gitlab.told_note(PROJECT, request, note), Reply.calls(*calls), Reply.text("Done.")
    )

    refused, made = await ToolExecution.all().order_by("id")
    assert (refused.status, made.status) == ("failed", "succeeded")
    assert str(refused.error).startswith("comments: an internal note asked for the review")
    assert [(one.internal, one.position) for one in request.notes] == [(True, None)] * 3


async def test_an_issue_is_not_reviewed(world: World, gitlab: GitLabStandIn, issue: Item) -> None:
    call = CALL("submit_review", {"verdict": "comment", "body": "Good."}, "c1")

    await world.run(gitlab.told(PROJECT, issue, "open"), Reply.calls(call), Reply.text("I see."))

    tried = await ToolExecution.get()
    assert (tried.status, said(issue)) == ("refused", ["I see."])
    assert "only a pull or merge request can be reviewed" in str(tried.error)
