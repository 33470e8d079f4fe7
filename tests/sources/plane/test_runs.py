"""From Plane's webhook to one comment on its work item, with everything that may come between."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import rows
from aether.demo.model import Reply, ScriptedModel, ToolCallScript, by_turn
from aether.demo.serving import serving
from aether.engine.execute import execute
from aether.engine.filters import FilterPool
from aether.engine.poll import poll_source
from aether.engine.receive import Receipt, receive
from aether.engine.runtime import Runtime
from aether.errors import LeaseLostError
from aether.llm import chat
from aether.models import (
    AuditEntry,
    Delivery,
    Effect,
    PollSource,
    Project,
    TaskExecution,
    ToolExecution,
)
from aether.sources.plane import Plane
from resolvers.seeding import seed
from tests.fakes import RecordingQueue
from tests.sources.plane.conftest import Serve
from tests.sources.plane.hooks import SECRET, Age
from tests.sources.plane.stand_in import PlaneStandIn
from tests.sources.plane.state import ANN, BO, DONE, HELPER, PROJECT, SLUG, STARTED, Item, shown

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*fields' attribute"),
]

CALL = ToolCallScript
TRIGGERS = ("issue.created", "issue.updated", "issue.closed", "issue.commented")


@dataclass
class World:
    """One Plane, one task mapped to every trigger of an issue, a model to script."""

    runtime: Runtime
    plane: PlaneStandIn
    model: ScriptedModel

    async def deliver(self, told: tuple[Mapping[str, str], bytes]) -> Receipt:
        """One webhook, verified and received."""
        headers, body = told
        Plane().verify(headers, body, SECRET)
        return await receive(self.runtime, Plane().extract(headers, body), slug="plane")

    async def deliver_all(self) -> list[Receipt]:
        """Every webhook that was sent meanwhile, in order."""
        told = list(self.plane.webhooks)
        self.plane.webhooks.clear()
        return [await self.deliver(one) for one in told]

    async def work(self, execution_id: int, *replies: Any) -> TaskExecution:
        """Work on an execution once, with these replies, one a turn."""
        if replies:
            self.model.say(by_turn(list(replies)))
        await rows("UPDATE task_execution SET run_after = NULL WHERE id = $1", execution_id)
        await execute(self.runtime, execution_id)
        return await TaskExecution.get(id=execution_id)

    async def opened(self, **told: Any) -> tuple[Item, int]:
        """A work item, and the execution that its creation started."""
        item = self.plane.open(**told)
        [receipt] = await self.deliver_all()
        return item, receipt.executions[0]

    def comments(self, item: Item) -> list[str]:
        return [shown(one.html) for one in item.comments]


async def commented(world: World, item: Item, text: str) -> int:
    """The execution that a comment of Bo's started."""
    world.plane.webhooks.clear()  # of our own answers
    world.plane.say(item, f"<p>{text}</p>", BO)
    [receipt] = await world.deliver_all()
    [execution_id] = receipt.executions
    return execution_id


@pytest.fixture
async def world(plane: PlaneStandIn, database: str) -> AsyncIterator[World]:
    async with running(plane, database) as made:
        yield made


@pytest.fixture
async def v1(serve: Serve, database: str) -> AsyncIterator[World]:
    async with running(serve(PlaneStandIn(Age.V1)), database) as made:
        yield made


@asynccontextmanager
async def running(plane: PlaneStandIn, database: str) -> AsyncIterator[World]:
    plane.people.append(BO)
    model = ScriptedModel()
    with serving(model.app) as model_url:
        told = {
            "DATABASE_URL": database,
            "LLM_BASE_URL": f"{model_url}/v1",
            "LLM_API_KEY": model.key,
            "LLM_MODEL": model.models[0],
            **plane.environment(),
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
        yield World(runtime=runtime, plane=plane, model=model)
        await runtime.filters.close()
        await runtime.credentials.close()
        await chat.close()


async def test_an_item_that_was_created_is_answered_by_one_comment(world: World) -> None:
    item, execution_id = await world.opened(html="<p>On <em>start</em>.</p>")

    done = await world.work(execution_id, Reply.text("It is the **parser**."))

    assert [done.status, done.error] == ["succeeded", None]
    assert world.comments(item) == ["It is the parser."]
    assert item.comments[0].html.startswith("<p>It is the <strong>parser</strong>.<a href=")
    page = f"{world.plane.url}/{SLUG}/projects/{PROJECT}/issues/{item.id}"
    assert done.answer_url == f"{page}#comment-{item.comments[0].id}"
    assert "On *start*." in str(world.model.requests[0]["messages"])  # v2 told no text


async def test_retries_under_fresh_ids_and_another_hook_start_nothing_more(world: World) -> None:
    item = world.plane.open()
    told = [world.plane.webhooks[-1], world.plane.again(), world.plane.of_other_hook()]
    created = [await world.deliver(one) for one in told]
    world.plane.say(item, "<p>Is it?</p>", BO)
    told = [world.plane.webhooks[-1], world.plane.again(), world.plane.of_other_hook()]
    commented = [await world.deliver(one) for one in told]

    for receipts in (created, commented):
        assert [one.status for one in receipts] == ["accepted", "duplicate", "duplicate"]
    assert await TaskExecution.all().count() == 2


async def test_a_comment_is_answered_on_its_item_whose_words_are_asked_for(world: World) -> None:
    item, _ = await world.opened(html="<p>On start.</p>", labels=[world.plane.label("bug")])
    world.plane.say(item, "<p>Is it late?</p>", BO)

    [receipt] = await world.deliver_all()
    done = await world.work(receipt.executions[0], Reply.text("It is."))

    assert (receipt.canonical_trigger, done.status) == ("issue.commented", "succeeded")
    assert (done.project_key, done.item_key) == (PROJECT, item.id)
    stored = await Delivery.get(id=receipt.delivery_id)
    assert (stored.project_key, stored.item_key, stored.title) == (PROJECT, item.id, "Boom")
    prompt = str(world.model.requests[-1]["messages"])
    assert all(one in prompt for one in ("Is it late?", "Boom", "On start.", "bug"))
    assert world.comments(item) == ["Is it late?", "It is."]


async def test_what_an_item_says_is_not_needed_where_it_cannot_be_asked_for(v1: World) -> None:
    item, _ = await v1.opened()
    v1.plane.say(item, "<p>Is it late?</p>", BO)
    [receipt] = await v1.deliver_all()
    v1.plane.faults.fail_next("GET", f"{item.id}/$", status=500, times=9)

    done = await v1.work(receipt.executions[0], Reply.text("It is."))

    assert (done.status, v1.comments(item)) == ("succeeded", ["Is it late?", "It is."])


async def test_a_comment_told_without_its_project_needs_it_found(
    serve: Serve, database: str
) -> None:
    async with running(serve(PlaneStandIn(Age.V2)), database) as world:
        await Project.create(name="Ops", source="plane", source_project_id=f"{SLUG}/{PROJECT}")
        item, _ = await world.opened(name="Boom")
        world.plane.say(item, "<p>Is it late?</p>", BO)
        [receipt] = await world.deliver_all()
        before = await Delivery.get(id=receipt.delivery_id)
        world.plane.faults.fail_next("GET", "search", status=404, body={"error": "x"}, times=2)

        done = await world.work(receipt.executions[0], Reply.text("It is."))

        assert (before.project_key, before.item_key, before.project_id) == ("", item.id, None)
        assert (done.status, done.project_key) == ("succeeded", PROJECT)
        assert done.project_id == (await Project.get()).id
        assert world.comments(item) == ["Is it late?", "It is."]


async def test_such_a_comment_on_an_item_that_is_hidden_fails_and_says_so(
    serve: Serve, database: str
) -> None:
    async with running(serve(PlaneStandIn(Age.V2)), database) as world:
        item, _ = await world.opened()
        world.plane.say(item, "<p>Is it late?</p>", BO)
        [receipt] = await world.deliver_all()
        del world.plane.items[item.id]

        done = await world.work(receipt.executions[0], Reply.text("It is."))

        assert done.status == "failed"
        assert f"no project that this key sees has the work item {item.id}" in (done.error or "")


@pytest.mark.parametrize("name", [PROJECT, f"{SLUG}/{PROJECT}", f"{SLUG}/{PROJECT}".upper()])
async def test_a_project_row_is_known_by_the_id_with_its_workspace_or_without(
    v1: World, name: str
) -> None:
    await Project.create(name="Ops", source="plane", source_project_id=name, enabled=False)
    v1.plane.open()

    [receipt] = await v1.deliver_all()

    assert (receipt.status, receipt.canonical_trigger) == ("ignored", "issue.created")
    stored = await Delivery.get(id=receipt.delivery_id)
    assert stored.reason == "its project is disabled"


async def test_a_comment_whose_answer_was_lost_is_found_and_not_posted_again(
    world: World,
) -> None:
    item, execution_id = await world.opened()
    world.plane.faults.drop_after_commit_next("POST", f"{world.plane.words[0]}/.*/comments/$")

    lost = await world.work(execution_id, Reply.text("Once."))
    done = await world.work(execution_id)

    assert (lost.status, done.status) == ("retrying", "succeeded")
    assert world.comments(item) == ["Once."]
    effect = await Effect.get()
    assert (effect.status, effect.platform_id) == ("sent", item.comments[0].id)


async def test_a_worker_that_died_after_the_call_comments_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, execution_id = await world.opened()

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

    assert (done.status, world.comments(item)) == ("succeeded", ["Once."])


async def test_our_own_comment_starts_nothing_and_a_person_s_right_after_does(
    world: World,
) -> None:
    item, execution_id = await world.opened()
    await world.work(execution_id, Reply.text("It is the parser."))

    [own] = await world.deliver_all()
    world.plane.say(item, "<p>Are you sure?</p>", HELPER)  # with the account whose key we have
    [person] = await world.deliver_all()

    assert (own.status, own.executions) == ("ignored", [])
    assert person.status == "accepted"


async def test_our_own_comment_is_known_before_its_id_is(world: World) -> None:
    item, execution_id = await world.opened()
    world.plane.faults.drop_after_commit_next("POST", f"{world.plane.words[0]}/.*/comments/$")
    await world.work(execution_id, Reply.text("Once."))
    assert (await Effect.get()).platform_id is None

    [receipt] = await world.deliver_all()

    assert receipt.status == "ignored"
    assert (await Delivery.get(id=receipt.delivery_id)).reason == (
        "our own doing: it carries our marker"
    )
    assert len(item.comments) == 1


async def test_a_person_who_copies_our_comment_is_answered(world: World) -> None:
    item, execution_id = await world.opened()
    await world.work(execution_id, Reply.text("It is the parser."))
    await world.deliver_all()
    world.plane.say(item, f"<blockquote>{item.comments[0].html}</blockquote><p>Really?</p>", BO)
    [quoted] = await world.deliver_all()
    world.plane.say(item, item.comments[0].html, BO)
    [copied] = await world.deliver_all()

    assert (quoted.status, copied.status) == ("accepted", "accepted")


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
    item, execution_id = await world.opened(labels=[world.plane.label("old")])
    await world.work(execution_id, Reply.calls(CALL(tool, arguments, "c1")), Reply.text("Done."))
    assert [one.status for one in await ToolExecution.all()] == ["succeeded"]

    own = await world.deliver_all()
    world.plane.change(item, HELPER, name="Something else")
    [person] = await world.deliver_all()

    assert len(own) >= 2  # the change, and the comment
    # v0.14 tells an edit of two fields by two deliveries that say the same
    assert {one.status for one in own} - {"duplicate"} == {"ignored"}
    assert [one.executions for one in own] == [[]] * len(own)
    reasons = [(await Delivery.get(id=one.delivery_id)).reason or "" for one in own]
    assert all(reason.startswith("our own doing: ") for reason in reasons)
    # v0.14 tells that the item changed, not how: what comes within two minutes is taken for ours
    assert person.status == ("ignored" if world.plane.age is Age.OLD else "accepted")


async def test_every_tool_works_on_the_item(world: World) -> None:
    item, execution_id = await world.opened(labels=[world.plane.label("old")])
    world.plane.say(item, "<p>Please.</p>", ANN)

    done = await world.work(
        execution_id,
        Reply.calls(
            CALL("get_issue", {}, "c1"),
            CALL("list_comments", {}, "c2"),
            CALL("add_labels", {"labels": ["urgent"]}, "c3"),
            CALL("remove_labels", {"labels": ["old"]}, "c4"),
            CALL("assign_issue", {"assignees": ["@bo.t"]}, "c5"),
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
    assert [world.plane.labels[one] for one in item.labels] == ["urgent"]
    assert (item.assignees, item.name, item.state) == ([BO.id], "Boom in the parser", DONE)
    assert (done.status, world.comments(item)) == ("succeeded", ["Please.", "All done."])
    [created] = [one for one in world.plane.items.values() if one.name == "Follow up"]
    assert shown(created.html) == "More."
    page = f"{world.plane.url}/{SLUG}/projects/{PROJECT}/issues/{created.id}"
    assert tools["create_issue"].result == f"Issue {created.id} created. {page}"


async def test_an_item_that_we_created_starts_nothing_and_what_people_do_to_it_does(
    world: World,
) -> None:
    _, execution_id = await world.opened()
    await world.work(
        execution_id,
        Reply.calls(CALL("create_issue", {"title": "Follow up", "body": "More."}, "c1")),
        Reply.text("Told."),
    )
    [created] = [one for one in world.plane.items.values() if one.name == "Follow up"]
    own = await world.deliver_all()

    world.plane.move(created, STARTED, ANN)
    [moved] = await world.deliver_all()

    # v2 tells a new item without its text: then the external id carries the marker
    assert {one.status for one in own} == {"ignored"}
    assert (moved.status, moved.canonical_trigger) == ("accepted", "issue.updated")


async def test_a_created_item_whose_answer_was_lost_is_found(world: World) -> None:
    _, execution_id = await world.opened()
    world.plane.faults.drop_after_commit_next("POST", f"{world.plane.words[0]}/$")
    replies = (
        Reply.calls(CALL("create_issue", {"title": "Follow up", "body": "More."}, "c1")),
        Reply.text("Told."),
    )

    await world.work(execution_id, *replies)
    done = await world.work(execution_id)

    assert done.status == "succeeded"
    assert sorted(one.name for one in world.plane.items.values()) == ["Boom", "Follow up"]


async def test_the_deliveries_of_one_edit_start_one_run_for_each_change(v1: World) -> None:
    item, _ = await v1.opened()
    v1.plane.change(item, ANN, state=DONE, priority="high")

    closed, updated = await v1.deliver_all()

    assert [closed.canonical_trigger, updated.canonical_trigger] == [
        "issue.closed", "issue.updated",
    ]  # fmt: skip
    assert [len(one.executions) for one in (closed, updated)] == [1, 1]


@pytest.mark.parametrize("first", ["webhook", "poll"])
async def test_what_a_webhook_and_a_poll_both_tell_starts_one_run(world: World, first: str) -> None:
    source = await PollSource.create(
        source="plane", source_project_id=f"{SLUG}/{PROJECT}", interval_minutes=5
    )

    async def poll() -> None:
        await rows("UPDATE poll_source SET requested_at = now() WHERE id = $1", source.id)
        await poll_source(world.runtime, source.id)
        assert (await PollSource.get(id=source.id)).error is None

    for act in ("create", "comment", "close", "edit"):
        if act == "create":
            item = world.plane.open()
        elif act == "comment":
            world.plane.say(item, "<p>a</p>", BO)
        elif act == "close":
            world.plane.move(item, DONE, BO)
        else:
            world.plane.change(item, BO, name="New")
        if first == "poll":
            await poll()
            await world.deliver_all()
        else:
            await world.deliver_all()
            await poll()

    found = await TaskExecution.all().order_by("id")
    triggers = [one.canonical_trigger for one in found]
    close = "issue.closed"
    if world.plane.age is Age.OLD and first == "webhook":
        close = "issue.updated"  # its deliveries do not tell that an item was closed
    assert triggers == ["issue.created", "issue.commented", close, "issue.updated"]


async def test_what_we_wrote_is_nothing_new_to_a_poll(world: World) -> None:
    source = await PollSource.create(source="plane", source_project_id=PROJECT, interval_minutes=5)
    item, execution_id = await world.opened()
    await world.work(
        execution_id,
        Reply.calls(
            CALL("update_issue", {"title": "New"}, "c1"), CALL("close_issue", {}, "c2"),
            CALL("create_issue", {"title": "Follow up", "body": "More."}, "c3"),
        ),
        Reply.text("Done."),
    )  # fmt: skip
    world.plane.webhooks.clear()

    await rows("UPDATE poll_source SET requested_at = now() WHERE id = $1", source.id)
    await poll_source(world.runtime, source.id)

    assert item.state == DONE
    assert await TaskExecution.all().count() == 1
    assert (await PollSource.get(id=source.id)).error is None
    told = await Delivery.filter(status="ignored")
    assert len(told) == 3  # the comment, the close, the new item
    assert all((one.reason or "").startswith("our own doing") for one in told)


async def test_comments_told_without_their_project_are_started_as_often_as_may_be(
    serve: Serve, database: str
) -> None:
    async with running(serve(PlaneStandIn(Age.V2)), database) as world:
        await rows("UPDATE task_definition SET max_runs_per_item_hour = 2")
        item, first = await world.opened()
        await world.work(first, Reply.text("It is the parser."))
        second = await commented(world, item, "Is it late?")
        assert (await world.work(second, Reply.text("It is."))).status == "succeeded"
        third = await commented(world, item, "Really?")
        asked = len(world.model.calls)

        held = await world.work(third, Reply.text("Never."))

        why = (
            "task triage held back: it was started 2 times on this item within the hour "
            "(max_runs_per_item_hour)"
        )
        assert (held.status, held.error, len(world.model.calls)) == ("cancelled", why, asked)
        assert world.comments(item)[-1] == "Really?"
        [entry] = await AuditEntry.filter(action="task.held_back")
        assert (entry.execution_id, entry.detail) == (third, {"task_id": "triage", "reason": why})
        await rows(
            "UPDATE task_execution SET created_at = now() - interval '61 minutes' WHERE id <> $1",
            third,
        )
        fourth = await commented(world, item, "And now?")
        assert (await world.work(fourth, Reply.text("It is."))).status == "succeeded"


async def test_of_comments_told_without_their_project_the_newer_replaces_the_older(
    serve: Serve, database: str
) -> None:
    async with running(serve(PlaneStandIn(Age.V2)), database) as world:
        await rows("UPDATE task_definition SET cancel_on_newer = true")
        item, opened = await world.opened()
        older = await commented(world, item, "Is it?")
        newer = await commented(world, item, "Is it late?")

        done = await world.work(newer, Reply.text("It is."))
        late = await world.work(older)

        assert done.status == "succeeded"
        for one in (late, await TaskExecution.get(id=opened)):
            assert (one.status, one.error) == ("cancelled", "a newer event started it again")
        assert len(world.model.calls) == 1
        assert world.comments(item) == ["Is it?", "Is it late?", "It is."]
