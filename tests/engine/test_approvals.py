"""A person's word before a tool call or an answer: asked for, waited for, obeyed."""

import asyncio
from typing import Any

import pytest

from aether.db import row, rows
from aether.demo.model import Reply, by_turn
from aether.engine import approvals
from aether.engine.execute import execute
from aether.engine.offering import Offer
from aether.engine.restart import cancel, restart
from aether.errors import ConflictError, NotFoundError
from aether.models import Approval, AuditEntry, TaskDefinition, TaskExecution, ToolExecution
from aether.vocabulary import ApprovalStatus, ToolEffect
from tests.engine import test_execute as base

World = base.World
CALL = base.CALL
make = base.make
world = base.world

LABEL = Reply.calls(CALL("add_labels", {"labels": ["bug"]}, "c1"))


async def want(**changes: Any) -> None:
    """What the task of these tests asks a person about."""
    await TaskDefinition.filter(id="triage").update(**changes)


async def pending() -> list[Approval]:
    return await Approval.filter(status="pending").order_by("id")


async def decide(world: World, approval: Approval, status: str, **told: Any) -> TaskExecution:
    """A person decides, and a worker goes on."""
    await approvals.decide(world.runtime, approval.id, ApprovalStatus(status), **told)
    assert world.runtime.queue.hints[-1][1] == [approval.execution_id]  # type: ignore[attr-defined]
    await execute(world.runtime, approval.execution_id)
    return await TaskExecution.get(id=approval.execution_id)


async def test_a_call_that_needs_approval_waits_and_does_nothing_meanwhile(world: World) -> None:
    await want(approve_tools=["add_labels"], approval_timeout_minutes=90)

    waiting = await world.run(LABEL, Reply.text("Labelled."))

    assert (waiting.status, waiting.lease_until, waiting.tries) == ("waiting_approval", None, 0)
    [asked] = await pending()
    assert (asked.kind, asked.tool, asked.arguments) == ("tool", "add_labels", {"labels": ["bug"]})
    assert (asked.task_id, asked.execution_id, asked.run) == ("triage", waiting.id, 1)
    assert (asked.expires_at - asked.created_at).total_seconds() == 5400
    assert (world.labels(), world.comments()) == ([], [])
    assert await ToolExecution.all().count() == 0
    assert len(world.model.calls) == 1
    await execute(world.runtime, waiting.id)  # a stray hint changes nothing
    assert len(world.model.calls) == 1


async def test_an_approved_call_is_run_and_the_run_goes_on_without_asking_the_model_again(
    world: World,
) -> None:
    await want(approve_tools=["*"])
    await world.run(LABEL, Reply.text("Labelled."))
    [asked] = await pending()

    done = await decide(world, asked, "approved")

    assert (done.status, done.llm_calls, done.tries) == ("succeeded", 2, 0)
    assert (world.labels(), world.comments()) == (["bug"], ["Labelled."])
    actions = [one.action for one in await AuditEntry.all().order_by("id")]
    assert actions[-6:] == [
        "approval.approved", "task.started", "item.label", "tool.called", "comment.posted",
        "task.completed",
    ]  # fmt: skip
    assert world.model.problems == []


async def test_a_changed_call_is_run_as_changed_and_the_model_is_told(world: World) -> None:
    await want(approve_tools=["add_labels"])
    await world.run(LABEL, Reply.text("Labelled."))
    [asked] = await pending()

    await decide(world, asked, "changed", arguments={"labels": ["question"]})

    assert world.labels() == ["question"]
    tool = await ToolExecution.get()
    assert (tool.status, tool.arguments) == ("succeeded", {"labels": ["question"]})
    told = world.model.requests[1]["messages"][-1]["content"]
    assert told.startswith(
        'A person changed the arguments before the call was run, to: {"labels": ["question"]}\n\n'
    )


async def test_a_refused_call_is_not_run_and_the_model_hears_why(world: World) -> None:
    await want(approve_tools=["add_labels"])
    await world.run(LABEL, Reply.text("Then not."))
    [asked] = await pending()

    done = await decide(world, asked, "refused", reason="Not a bug.")

    assert (done.status, world.labels(), world.comments()) == ("succeeded", [], ["Then not."])
    tool = await ToolExecution.get()
    assert (tool.status, tool.error) == ("refused", "a person refused this call: Not a bug.")
    told = world.model.requests[1]["messages"][-1]["content"]
    assert told == "Refused: a person refused this call: Not a bug."


async def test_the_tool_itself_may_want_approval_and_reading_tools_need_none_by_a_star(
    world: World,
) -> None:
    await want(approve_tools=["*"])
    read = await world.run(Reply.calls(CALL("get_issue", {}, "c1")), Reply.text("Read."))
    await rows("UPDATE tool_definition SET requires_approval = true WHERE name = 'get_issue'")

    waiting = await world.run(
        Reply.calls(CALL("get_issue", {}, "c1")), Reply.text("Read."), number=8
    )

    assert (read.status, waiting.status) == ("succeeded", "waiting_approval")
    assert [one.tool for one in await pending()] == ["get_issue"]


async def test_calls_of_one_reply_are_asked_about_together_and_run_once_all_are_decided(
    world: World,
) -> None:
    await want(approve_tools=["add_labels", "close_issue"])
    waiting = await world.run(
        Reply.calls(
            CALL("add_labels", {"labels": ["bug"]}, "c1"),
            CALL("get_issue", {}, "c2"),
            CALL("close_issue", {}, "c3"),
        ),
        Reply.text("Done."),
    )
    label, close = await pending()

    await approvals.decide(world.runtime, close.id, ApprovalStatus.REFUSED)
    assert (await TaskExecution.get(id=waiting.id)).status == "waiting_approval"
    done = await decide(world, label, "approved")

    assert (done.status, world.labels()) == ("succeeded", ["bug"])
    assert world.github.issue(base.REPO, 7).state == "open"
    assert [one.status for one in await ToolExecution.all().order_by("id")] == [
        "succeeded", "succeeded", "refused",
    ]  # fmt: skip


async def test_two_people_at_once_decide_two_calls_and_the_run_goes_on_once(world: World) -> None:
    await want(approve_tools=["*"])
    await world.run(
        Reply.calls(
            CALL("add_labels", {"labels": ["a"]}, "c1"), CALL("add_labels", {"labels": ["b"]}, "c2")
        ),
        Reply.text("Done."),
    )
    both = await pending()

    await asyncio.gather(
        *(approvals.decide(world.runtime, one.id, ApprovalStatus.APPROVED) for one in both)
    )

    execution_id = both[0].execution_id
    assert (await TaskExecution.get(id=execution_id)).status == "queued"
    sent = [ids for _, ids in world.runtime.queue.hints if ids == [execution_id]]  # type: ignore[attr-defined]
    assert len(sent) == 2  # one from the delivery, one from whoever was last


async def test_what_could_not_be_run_anyway_asks_nobody(world: World) -> None:
    await want(approve_tools=["add_labels", "no_such_tool"])

    done = await world.run(
        Reply.calls(CALL("add_labels", {"labels": "bug"}, "c1"), CALL("no_such_tool", {}, "c2")),
        Reply.text("Then not."),
    )

    assert (done.status, await Approval.all().count()) == ("succeeded", 0)
    assert world.labels() == []


async def test_the_second_of_two_decisions_is_told_that_it_is_late(world: World) -> None:
    await want(approve_tools=["*"])
    await world.run(LABEL, Reply.text("Labelled."))
    [asked] = await pending()
    await decide(world, asked, "approved")

    with pytest.raises(ConflictError, match=f"approval {asked.id} is approved already"):
        await approvals.decide(world.runtime, asked.id, ApprovalStatus.REFUSED)
    with pytest.raises(NotFoundError):
        await approvals.decide(world.runtime, 999, ApprovalStatus.REFUSED)

    assert (await Approval.get(id=asked.id)).status == "approved"


async def test_an_answer_is_posted_once_it_is_approved(world: World) -> None:
    await want(approve_answer=True)

    waiting = await world.run(Reply.text("It is the parser."))
    [asked] = await pending()
    assert (waiting.status, asked.kind, asked.text) == (
        "waiting_approval", "answer", "It is the parser.",
    )  # fmt: skip
    assert world.comments() == []

    done = await decide(world, asked, "approved")

    assert (done.status, done.answer, world.comments()) == (
        "succeeded", "It is the parser.", ["It is the parser."],
    )  # fmt: skip
    assert len(world.model.calls) == 1


async def test_a_changed_answer_is_posted_and_recorded_as_changed(world: World) -> None:
    await want(approve_answer=True)
    await world.run(Reply.text("It is the parser."))
    [asked] = await pending()

    done = await decide(world, asked, "changed", text="It is the lexer.")

    assert (done.answer, world.comments()) == ("It is the lexer.", ["It is the lexer."])
    assert (await Approval.get(id=asked.id)).text == "It is the parser."


async def test_a_refused_answer_is_written_anew_and_after_three_the_run_fails(
    world: World,
) -> None:
    await want(approve_answer=True)
    world.model.say(by_turn([Reply.text(f"Answer {turn}.") for turn in range(1, 5)]))
    execution_id = await world.opened()
    await execute(world.runtime, execution_id)
    for turn in range(1, 4):
        [asked] = await pending()
        assert asked.text == f"Answer {turn}."
        last = await decide(world, asked, "refused", reason="Too short.")

    assert (last.status, world.comments()) == ("failed", [])
    assert last.error == "its answer was refused 3 times"
    assert world.model.requests[1]["messages"][-1] == {
        "role": "user",
        "content": "A person read your answer and refused to post it. The reason given: Too "
        "short. Write another one.",
    }


async def test_speaking_by_a_tool_needs_approval_where_the_answer_does(world: World) -> None:
    await want(approve_answer=True)

    waiting = await world.run(
        Reply.calls(CALL("add_comment", {"body": "Hello."}, "c1")), Reply.text("I have spoken.")
    )
    [asked] = await pending()
    assert (waiting.status, asked.tool, world.comments()) == ("waiting_approval", "add_comment", [])

    done = await decide(world, asked, "approved")

    assert (done.status, world.comments()) == ("succeeded", ["Hello."])


async def test_what_nobody_decides_in_time_fails_and_a_restart_asks_anew(world: World) -> None:
    await want(approve_tools=["*"])
    waiting = await world.run(LABEL, Reply.text("Labelled."))
    assert await approvals.expire() == 0
    await rows("UPDATE approval SET expires_at = now() - interval '1 second'")
    [late] = await pending()
    with pytest.raises(ConflictError, match="its time is over"):
        await approvals.decide(world.runtime, late.id, ApprovalStatus.APPROVED)

    assert await approvals.expire() == 1

    failed = await TaskExecution.get(id=waiting.id)
    assert (failed.status, failed.error) == (
        "failed", "nobody approved or refused it in time: add_labels",
    )  # fmt: skip
    assert (await Approval.get(id=late.id)).status == "expired"
    assert world.labels() == []
    await restart(world.runtime, waiting.id)
    await execute(world.runtime, waiting.id)
    [asked] = await pending()
    assert (asked.run, asked.id != late.id) == (2, True)
    assert (await decide(world, asked, "approved")).status == "succeeded"
    assert world.labels() == ["bug"]


async def test_cancelling_what_waits_withdraws_it(world: World) -> None:
    await want(approve_tools=["*"])
    waiting = await world.run(LABEL, Reply.text("Labelled."))
    [asked] = await pending()

    await cancel(waiting.id)

    assert (await TaskExecution.get(id=waiting.id)).status == "cancelled"
    assert (await Approval.get(id=asked.id)).status == "withdrawn"
    with pytest.raises(ConflictError, match="withdrawn already"):
        await approvals.decide(world.runtime, asked.id, ApprovalStatus.APPROVED)
    assert (world.labels(), world.comments()) == ([], [])


async def test_a_worker_that_lost_its_lease_asks_nobody(world: World) -> None:
    await want(approve_tools=["*"])
    world.model.say(by_turn([LABEL.after(1), Reply.text("Labelled.")]))
    execution_id = await world.opened()

    async def lose() -> None:
        await base.asked(world)
        await rows("UPDATE task_execution SET lease_token = lease_token + 1")

    await asyncio.gather(execute(world.runtime, execution_id), lose())

    found = await row("SELECT status FROM task_execution WHERE id = $1", execution_id)
    assert found == {"status": "running"}
    assert await Approval.all().count() == 0


@pytest.mark.parametrize(("names", "is_asked"), [
    (["mcp_docs_*"], True), (["mcp_docs_write"], True), (["mcp_doc_*"], False),
    (["mcp_other_*"], False),
])  # fmt: skip
def test_a_star_stands_for_all_tools_of_a_server_here_as_in_every_list_of_tools(
    names: list[str], is_asked: bool
) -> None:
    async def call(*_: Any) -> str:
        return ""

    offer = Offer(
        name="mcp_docs_write", description="", parameters={}, call=call, effect=ToolEffect.READS
    )

    assert approvals.needs_approval(TaskDefinition(approve_tools=names), offer) is is_asked


async def test_a_refused_call_is_not_run_though_the_task_wants_no_approval_any_more(
    world: World,
) -> None:
    await want(approve_tools=["add_labels"])
    await world.run(LABEL, Reply.text("Not labelled."))
    [asked] = await pending()
    await want(approve_tools=[])

    done = await decide(world, asked, "refused", reason="not yours")

    assert done.status == "succeeded"
    assert world.labels() == []
    assert (await ToolExecution.get()).status == "refused"


async def test_a_refused_answer_is_not_posted_though_the_task_wants_no_approval_any_more(
    world: World,
) -> None:
    await want(approve_answer=True)
    await world.run(Reply.text("Rude."), Reply.text("Kind."))
    [asked] = await pending()
    await want(approve_answer=False)

    done = await decide(world, asked, "refused", reason="be kind")

    assert (done.status, done.answer) == ("succeeded", "Kind.")
    assert world.comments() == ["Kind."]


async def test_a_star_asks_about_a_tool_of_ours_that_writes_whatever_its_row_says(
    world: World,
) -> None:
    await want(approve_tools=["*"])
    await rows("UPDATE tool_definition SET effect = 'reads'")

    waiting = await world.run(LABEL, Reply.text("Labelled."))

    assert (waiting.status, world.labels()) == ("waiting_approval", [])
    [asked] = await pending()
    assert asked.tool == "add_labels"
