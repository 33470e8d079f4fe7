"""From Jira's webhook to one comment on its issue, with everything that may come between."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

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
from aether.errors import LeaseLostError
from aether.llm import chat
from aether.models import Delivery, Effect, Project, TaskExecution, ToolExecution
from aether.sources.jira import Jira
from resolvers.seeding import seed
from tests.fakes import RecordingQueue
from tests.sources.jira.conftest import Serve
from tests.sources.jira.site import ANN, BO, SECRET, plain
from tests.sources.jira.site_state import DONE, Issue
from tests.sources.jira.stand_in import JiraStandIn

CALL = ToolCallScript
TRIGGERS = ("issue.created", "issue.updated", "issue.closed", "issue.commented")


@dataclass
class World:
    """One Jira, one task mapped to every trigger of an issue, a model to script."""

    runtime: Runtime
    jira: JiraStandIn
    model: ScriptedModel

    async def deliver(self, told: tuple[Mapping[str, str], bytes]) -> Receipt:
        """One webhook, verified and received."""
        headers, body = told
        Jira().verify(headers, body, SECRET)
        return await receive(self.runtime, Jira().extract(headers, body), slug="jira")

    async def deliver_all(self) -> list[Receipt]:
        """Every webhook that the site has sent meanwhile, in order."""
        told = list(self.jira.webhooks)
        self.jira.webhooks.clear()
        return [await self.deliver(one) for one in told]

    async def work(self, execution_id: int, *replies: Any) -> TaskExecution:
        """Work on an execution once, with these replies, one a turn."""
        if replies:
            self.model.say(by_turn(list(replies)))
        await rows("UPDATE task_execution SET run_after = NULL WHERE id = $1", execution_id)
        await execute(self.runtime, execution_id)
        return await TaskExecution.get(id=execution_id)

    async def opened(self) -> tuple[Issue, int]:
        """An issue, and the execution that its creation started."""
        issue = self.jira.open()
        [receipt] = await self.deliver_all()
        return issue, receipt.executions[0]

    def comments(self, issue: Issue) -> list[str]:
        return [plain(one.body) for one in issue.comments]


@pytest.fixture
async def world(jira: JiraStandIn, database: str) -> AsyncIterator[World]:
    async with running(jira, database) as made:
        yield made


@pytest.fixture
async def server(serve: Serve, database: str) -> AsyncIterator[World]:
    """A world with Jira Server, the only one that tells a comment without its issue."""
    async with running(serve(JiraStandIn(is_cloud=False)), database) as made:
        yield made


@asynccontextmanager
async def running(jira: JiraStandIn, database: str) -> AsyncIterator[World]:
    model = ScriptedModel()
    with serving(model.app) as model_url:
        told = {
            "DATABASE_URL": database,
            "LLM_BASE_URL": f"{model_url}/v1",
            "LLM_API_KEY": model.key,
            "LLM_MODEL": model.models[0],
            **jira.environment(),
        }
        settings = Settings.from_environment(told)
        runtime = Runtime(
            settings=settings, queue=RecordingQueue(), filters=FilterPool(),
            credentials=Credentials(settings),
        )  # fmt: skip
        for name in ("source_event_mappings", "tools"):
            await seed(name)
        await rows(
            """INSERT INTO task_definition (id, name, description, actor_id, fallback_prompt,
                 required_capabilities, tool_reach, memory_scopes, enabled, created_at, updated_at)
               VALUES ('triage', 'Triage', 'Say what it is.', 'pm_sarah', 'You are a PM.', '[]',
                 'item', '["task", "project"]', true, now(), now())"""
        )
        await rows(
            """INSERT INTO trigger_task_mapping (canonical_trigger, task_id)
               SELECT unnest($1::text[]), 'triage'""",
            list(TRIGGERS),
        )
        yield World(runtime=runtime, jira=jira, model=model)
        await runtime.filters.close()
        await runtime.credentials.close()
        await chat.close()


async def test_an_issue_that_was_created_is_answered_by_one_comment(world: World) -> None:
    issue, execution_id = await world.opened()

    done = await world.work(execution_id, Reply.text("It is the parser."))

    assert [done.status, done.error] == ["succeeded", None]
    assert world.comments(issue) == ["It is the parser."]
    assert done.answer_url == (
        f"{world.jira.url}/browse/OPS-7?focusedCommentId={issue.comments[0].id}"
    )


async def test_a_retried_delivery_and_one_of_another_hook_start_nothing_more(world: World) -> None:
    world.jira.open()
    [(headers, body)] = world.jira.webhooks
    other = {name: value for name, value in headers.items() if "identifier" not in name}

    first = await world.deliver((headers, body))
    again = await world.deliver((headers | {"x-atlassian-webhook-retry": "1"}, body))
    hook = await world.deliver((other, body))

    assert [first.status, again.status, hook.status] == ["accepted", "duplicate", "duplicate"]
    assert await TaskExecution.all().count() == 1


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_a_comment_is_one_run_however_many_events_tell_it_in_whichever_order(
    world: World, is_reversed: bool
) -> None:
    issue, _ = await world.opened()
    world.jira.say(issue, text(world, "Is it late?"), BO)
    if is_reversed:
        world.jira.webhooks.reverse()

    receipts = await world.deliver_all()

    assert [one.status for one in receipts] == ["accepted", "duplicate"][: len(receipts)]
    assert {one.canonical_trigger for one in receipts} == {"issue.commented"}
    assert len(receipts) == (1 if world.jira.is_cloud else 2)
    stored = await Delivery.get(id=receipts[0].delivery_id)
    assert (stored.project_key, stored.item_key, stored.title) == ("OPS", "OPS-7", "Boom")
    execution = await TaskExecution.get(id=receipts[0].executions[0])
    assert (execution.project_key, execution.item_key) == ("OPS", "OPS-7")
    done = await world.work(execution.id, Reply.text("It is."))
    assert (done.status, world.comments(issue)) == ("succeeded", ["Is it late?", "It is."])


def text(world: World, words: str) -> Any:
    if not world.jira.is_cloud:
        return words
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": words}]}
    return {"type": "doc", "version": 1, "content": [paragraph]}


async def test_a_comment_told_without_its_issue_is_answered_on_it(server: World) -> None:
    issue, _ = await server.opened()
    await Project.create(name="Ops", source="jira", source_project_id="ops")
    server.jira.say(issue, "Is it late?", BO)

    receipt = await server.deliver(server.jira.webhooks[0])
    before = await Delivery.get(id=receipt.delivery_id)
    done = await server.work(receipt.executions[0], Reply.text("It is."))

    assert (receipt.status, receipt.canonical_trigger) == ("accepted", "issue.commented")
    assert (before.item_kind, before.item_key, before.project_key) == ("issue", None, "")
    assert (done.status, done.item_key, done.project_key) == ("succeeded", "OPS-7", "OPS")
    assert done.project_id == (await Project.get()).id
    stored = await Delivery.get(id=receipt.delivery_id)
    assert (stored.item_key, stored.title, stored.event_name) == (
        "OPS-7",
        "Boom",
        "comment_created",
    )
    assert server.comments(issue) == ["Is it late?", "It is."]
    assert "Boom" in str(server.model.requests[0]["messages"])


async def test_such_a_comment_in_a_disabled_project_is_not_answered(server: World) -> None:
    issue, _ = await server.opened()
    await Project.create(name="Ops", source="jira", source_project_id="OPS", enabled=False)
    server.jira.say(issue, "Is it late?", BO)
    receipt = await server.deliver(server.jira.webhooks[0])

    done = await server.work(receipt.executions[0], Reply.text("It is."))

    assert (done.status, server.comments(issue)) == ("cancelled", ["Is it late?"])
    assert server.model.requests == []


async def test_such_a_comment_on_an_issue_that_is_hidden_fails_and_says_so(server: World) -> None:
    issue, _ = await server.opened()
    server.jira.say(issue, "Is it late?", BO)
    receipt = await server.deliver(server.jira.webhooks[0])
    server.jira.issues.clear()

    done = await server.work(receipt.executions[0], Reply.text("It is."))

    assert done.status == "failed"
    assert "Issue does not exist or you do not have permission" in (done.error or "")


async def test_without_credentials_it_waits_for_the_event_that_names_the_issue(
    server: World,
) -> None:
    issue, _ = await server.opened()
    server.jira.say(issue, "Is it late?", BO)
    stripped, full = server.jira.webhooks
    receipt = await server.deliver(stripped)
    usable = server.runtime.credentials
    server.runtime.credentials = Credentials(
        server.runtime.settings.model_copy(update={"jira_api_token": None})
    )

    waiting = await server.work(receipt.executions[0])
    again = await server.deliver(full)
    server.runtime.credentials = usable
    done = await server.work(receipt.executions[0], Reply.text("It is."))

    assert waiting.status == "retrying"
    assert "does not name its item" in (waiting.error or "")
    assert again.status == "duplicate"
    assert (done.status, done.item_key) == ("succeeded", "OPS-7")
    assert server.comments(issue) == ["Is it late?", "It is."]


async def test_a_comment_whose_answer_was_lost_is_found_and_not_posted_again(
    world: World,
) -> None:
    issue, execution_id = await world.opened()
    world.jira.lag = timedelta(hours=1)
    world.jira.faults.drop_after_commit_next("POST", "comment")

    lost = await world.work(execution_id, Reply.text("Once."))
    done = await world.work(execution_id)

    assert (lost.status, done.status) == ("retrying", "succeeded")
    assert world.comments(issue) == ["Once."]
    effect = await Effect.get()
    assert (effect.status, effect.platform_id) == ("sent", str(issue.comments[0].id))


async def test_a_worker_that_died_after_the_call_comments_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue, execution_id = await world.opened()

    def die(name: str) -> None:
        if name == "comment posted":
            raise LeaseLostError("killed by the test")

    monkeypatch.setattr("aether.effects.reached", die)
    await world.work(execution_id, Reply.text("Once."))
    monkeypatch.undo()
    await rows(
        "UPDATE task_execution SET lease_until = now() - interval '1 hour' WHERE id = $1",
        execution_id,
    )
    done = await world.work(execution_id)

    assert (done.status, world.comments(issue)) == ("succeeded", ["Once."])


async def test_our_own_comment_starts_nothing_and_a_person_s_right_after_does(
    world: World,
) -> None:
    issue, execution_id = await world.opened()
    await world.work(execution_id, Reply.text("It is the parser."))

    own = await world.deliver_all()
    world.jira.say(issue, text(world, "Are you sure?"), world.jira.helper)  # with our account
    person = await world.deliver_all()

    assert {one.status for one in own} == {"ignored", "duplicate"} - (
        {"duplicate"} if world.jira.is_cloud else set()
    )
    assert all(one.executions == [] for one in own)
    assert person[0].status == "accepted"


async def test_our_own_comment_is_known_before_its_id_is(world: World) -> None:
    issue, execution_id = await world.opened()
    world.jira.faults.drop_after_commit_next("POST", "comment")
    await world.work(execution_id, Reply.text("Once."))
    assert (await Effect.get()).platform_id is None

    receipts = await world.deliver_all()

    assert receipts[0].status == "ignored"
    assert (await Delivery.get(id=receipts[0].delivery_id)).reason == (
        "our own doing: it carries our marker"
    )
    assert len(issue.comments) == 1


WRITES = [
    ("add_labels", {"labels": ["urgent"]}),
    ("remove_labels", {"labels": ["old"]}),
    ("assign_issue", {"assignees": ["Bo Tester"]}),
    ("update_issue", {"title": "Boom in the parser", "body": "It says *hej* and `x`."}),
    ("close_issue", {}),
    ("close_issue", {"reason": "not_planned"}),
]


@pytest.mark.parametrize(("tool", "arguments"), WRITES)
async def test_what_our_tools_change_starts_nothing_and_the_same_by_a_person_does(
    world: World, tool: str, arguments: dict[str, Any]
) -> None:
    issue = world.jira.open(labels=["old"])
    [receipt] = await world.deliver_all()
    await world.work(
        receipt.executions[0], Reply.calls(CALL(tool, arguments, "c1")), Reply.text("Done.")
    )
    assert [one.status for one in await ToolExecution.all()] == ["succeeded"]
    [change] = [one for one in world.jira.webhooks if b"changelog" in one[1]]
    world.jira.webhooks.clear()

    own = await world.deliver(change)
    world.jira.change(issue, ANN, title="Something else", labels=["by-ann"])
    [person] = await world.deliver_all()

    assert (own.status, own.executions) == ("ignored", [])
    reason = (await Delivery.get(id=own.delivery_id)).reason or ""
    assert reason.startswith("our own doing: we intended to ")
    assert person.status == "accepted"


async def test_every_tool_works_on_the_issue(world: World) -> None:
    issue = world.jira.open(labels=["old"])
    [receipt] = await world.deliver_all()
    world.jira.say(issue, text(world, "Please."), ANN)

    done = await world.work(
        receipt.executions[0],
        Reply.calls(
            CALL("get_issue", {}, "c1"),
            CALL("list_comments", {}, "c2"),
            CALL("add_labels", {"labels": ["urgent"]}, "c3"),
            CALL("remove_labels", {"labels": ["old"]}, "c4"),
            CALL("assign_issue", {"assignees": ["@bo tester"]}, "c5"),
            CALL("update_issue", {"title": "Boom in the parser"}, "c6"),
            CALL("create_issue", {"title": "Follow up", "body": "More."}, "c7"),
            CALL("close_issue", {"reason": "completed"}, "c8"),
            CALL("add_comment", {"body": "All done."}, "c9"),
        ),
        Reply.text("Told."),
    )

    tools = {one.tool: one for one in await ToolExecution.all()}
    assert {name: one.result for name, one in tools.items() if one.status != "succeeded"} == {}
    assert len(tools) == 9
    assert '"title": "Boom"' in (tools["get_issue"].result or "")
    assert '"body": "Please."' in (tools["list_comments"].result or "")
    assert (issue.labels, issue.assignee, issue.title) == (["urgent"], BO, "Boom in the parser")
    assert (issue.status, issue.resolution) == (DONE, "Done")
    assert done.status == "succeeded"
    assert world.comments(issue) == ["Please.", "All done."]
    created = world.jira.issues["OPS-8"]
    assert (created.title, plain(created.description)) == ("Follow up", "More.")
    assert tools["create_issue"].result == (f"Issue OPS-8 created. {world.jira.url}/browse/OPS-8")


async def test_an_issue_that_we_created_starts_nothing_and_what_people_do_to_it_does(
    world: World,
) -> None:
    _, execution_id = await world.opened()
    await world.work(
        execution_id,
        Reply.calls(CALL("create_issue", {"title": "Follow up", "body": "More."}, "c1")),
        Reply.text("Told."),
    )
    created = world.jira.issues["OPS-8"]
    own = await world.deliver(next(one for one in world.jira.webhooks if b"OPS-8" in one[1]))
    world.jira.webhooks.clear()

    world.jira.move(created, DONE, ANN)
    [closed] = await world.deliver_all()

    assert own.status == "ignored"
    assert (closed.status, closed.canonical_trigger) == ("accepted", "issue.closed")


async def test_a_created_issue_whose_answer_was_lost_is_found_though_the_index_is_late(
    world: World,
) -> None:
    _, execution_id = await world.opened()
    world.jira.lag = timedelta(hours=1)
    world.jira.faults.drop_after_commit_next("POST", "/issue")
    replies = (
        Reply.calls(CALL("create_issue", {"title": "Follow up", "body": "More."}, "c1")),
        Reply.text("Told."),
    )

    await world.work(execution_id, *replies)
    done = await world.work(execution_id)

    assert done.status == "succeeded"
    assert sorted(world.jira.issues) == ["OPS-7", "OPS-8"]


async def test_a_task_that_reaches_its_project_reaches_no_other_one(world: World) -> None:
    await rows("UPDATE task_definition SET tool_reach = 'project'")
    issue, execution_id = await world.opened()
    beside = world.jira.open("Beside it.")
    elsewhere = world.jira.open("Elsewhere.")
    del world.jira.issues[elsewhere.key]
    elsewhere.key = "SEC-1"
    world.jira.issues["SEC-1"] = elsewhere
    world.jira.webhooks.clear()

    await world.work(
        execution_id,
        Reply.calls(
            CALL("get_issue", {"issue": beside.key}),
            CALL("get_issue", {"issue": "SEC-1"}),
            CALL("get_issue", {"issue": elsewhere.id}),
            CALL("add_labels", {"issue": "SEC-1", "labels": ["seen"]}),
        ),
        Reply.text("Done."),
    )

    ran = await ToolExecution.all().order_by("id")
    assert [one.status for one in ran] == ["succeeded", "refused", "refused", "refused"]
    assert ran[1].error == "issue: SEC-1 is no item of the project OPS"
    assert elsewhere.labels == []
    asked = [one for one in world.jira.asked if "SEC-1" in one or str(elsewhere.id) in one]
    assert asked == []
    assert issue.key == "OPS-7"
