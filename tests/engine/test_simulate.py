"""What a simulation says is what then happens, and saying it changes nothing."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import pytest
from tortoise.exceptions import TransactionManagementError

from aether.db import reading, rows
from aether.demo.model import Reply, by_turn
from aether.engine.bounds import BOT_RUNS_AN_HOUR
from aether.engine.configuration import Configuration
from aether.engine.execute import execute
from aether.engine.receive import receive
from aether.engine.runtime import Runtime
from aether.engine.simulate import AnswerPlace, JqVerdict, Prospect, simulate
from aether.events import Actor, SourceEvent, Subject
from aether.memory import store
from aether.models import (
    Agent,
    AgentCapability,
    Effect,
    Project,
    SourceEventMapping,
    TaskDefinition,
    TaskExecution,
    TriggerTaskMapping,
    WebhookMapping,
)
from aether.sources import SOURCES
from aether.vocabulary import MemoryScope
from resolvers.seeding import seed
from seeding import SEEDS
from tests.engine.test_execute import World, make  # noqa: F401 # a fixture
from tests.engine.test_receive import OPENED, mapped
from tests.engine.untouched import contents
from tests.fakes import RecordingQueue

FIXTURES: Final = Path(__file__).parents[1] / "sources" / "github" / "fixtures"
RECORDED: Final = sorted(one for one in FIXTURES.glob("*.json") if ".golden" not in one.name)
NONCE: Final = re.compile(r"(?:(?<=event )|(?<=memories )|(?<=\[))[0-9a-f]{16}")


async def told(runtime: Runtime, event: SourceEvent = OPENED, **options: Any) -> Prospect:
    """What the simulation says, once it is seen that it changed nothing."""
    queue = runtime.queue
    assert isinstance(queue, RecordingQueue)
    before, hints = await contents(), list(queue.hints)

    found = await simulate(runtime, event, slug="github", **options)

    assert await contents() == before
    assert queue.hints == hints
    return found


def read(recorded: Path) -> SourceEvent:
    headers = {"x-github-event": recorded.name.partition("__")[0], "x-github-delivery": "d-1"}
    return SOURCES[0].extract(headers, recorded.read_bytes())


def without_nonce(messages: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(one["role"], NONCE.sub("", one["content"])) for one in messages]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.stem)
async def test_what_is_simulated_is_what_then_happens(
    make: Callable[..., World],  # noqa: F811
    recorded: Path,
) -> None:
    for name in SEEDS:
        await seed(name)
    event = read(recorded)
    world = make(TRACKER_UPDATES_ENABLED="false")
    runtime = world.runtime

    said = await told(runtime, event)
    receipt = await receive(runtime, event, slug="github")

    started = await TaskExecution.filter(id__in=receipt.executions).order_by("id")
    assert said.status == receipt.status
    assert [one.canonical_trigger for one in said.triggers] == receipt.canonical_triggers
    assert [(one.task_id, one.canonical_trigger) for one in said.tasks] == [
        (one.task_id, one.canonical_trigger) for one in started
    ]
    [delivery] = await rows("SELECT reason, project_id, extracted FROM delivery")
    assert (said.reason, said.project_id, said.extracted) == (
        delivery["reason"], delivery["project_id"], json.loads(delivery["extracted"]),
    )  # fmt: skip
    for foretold, execution in zip(said.tasks, started, strict=True):
        world.model.say(by_turn([Reply.text("Fine.")]))
        await execute(runtime, execution.id)
        done = await TaskExecution.get(id=execution.id)
        request = world.model.requests[-1]
        assert (foretold.agent_id, foretold.agent_reason) == (done.agent_id, done.agent_reason)
        assert without_nonce(map(asdict, foretold.messages)) == without_nonce(request["messages"])
        assert [one.to_model() for one in foretold.tools] == request.get("tools", [])
        assert foretold.model == request["model"]


async def test_the_recorded_deliveries_start_something_and_nothing_by_turns(
    runtime: Runtime,
) -> None:
    for name in SEEDS:
        await seed(name)

    found = [await simulate(runtime, read(recorded), slug="github") for recorded in RECORDED]

    assert {one.status for one in found} == {"accepted", "ignored"}


async def test_the_database_itself_refuses_a_write_while_a_simulation_reads(
    runtime: Runtime,
) -> None:
    with pytest.raises(TransactionManagementError, match="read-only"):
        async with reading():
            await rows("UPDATE configuration_version SET version = version + 1")


async def test_each_trigger_names_the_rows_that_gave_it(runtime: Runtime) -> None:
    await mapped("triage")
    await Agent.create(id="pm_sarah", name="S", role="pm", prompt="P")
    verdicts = {".issue.number == 7": "issue.created", "false": "never", "error": "broken"}
    made = [
        await WebhookMapping.create(
            source="github", event_type="issues", jq_filter=program, canonical_trigger=trigger,
            extract={"number": ".issue.number"},
        )
        for program, trigger in [*verdicts.items(), (".issue", "issue.seen")]
    ]  # fmt: skip

    said = await told(runtime)

    source_mapping = await SourceEventMapping.get()
    assert [
        (one.canonical_trigger, one.source_event_mapping_id, one.webhook_mapping_ids)
        for one in said.triggers
    ] == [
        ("issue.created", source_mapping.id, [made[0].id]),
        ("issue.seen", None, [made[3].id]),
    ]
    assert [(one.webhook_mapping_id, one.verdict) for one in said.rules] == [
        (made[0].id, JqVerdict.TRUE),
        (made[1].id, JqVerdict.FALSE),
        (made[2].id, JqVerdict.FAILED),
        (made[3].id, JqVerdict.TRUE),
    ]
    assert said.extracted == {"number": 7}
    assert "number: 7" in said.tasks[0].messages[-1].content


async def test_each_gate_says_whether_it_opens_and_why_not(runtime: Runtime) -> None:
    await mapped("open")
    gates: dict[str, dict[str, Any]] = {
        "far": {"min_association": "OWNER"},
        "false": {"condition": "false"},
        "broken": {"condition": "error"},
        "true": {"condition": ".issue", "min_association": "CONTRIBUTOR"},
    }
    for task_id, gate in gates.items():
        await TaskDefinition.create(id=task_id, name="T", description="D", actor_id="nobody")
        await TriggerTaskMapping.create(canonical_trigger="issue.created", task_id=task_id, **gate)
    await TaskDefinition.create(id="off", name="T", description="D", actor_id="a", enabled=False)
    await TriggerTaskMapping.create(canonical_trigger="issue.created", task_id="off")

    said = await told(runtime)

    assert [(one.task_id, one.is_open, one.condition_verdict) for one in said.gates] == [
        ("open", True, None),
        ("far", False, None),
        ("false", False, JqVerdict.FALSE),
        ("broken", False, JqVerdict.FAILED),
        ("true", True, JqVerdict.TRUE),
        ("off", False, None),
    ]
    assert [one.reason for one in said.gates] == [
        None,
        "task far held back: its author's association is MEMBER, OWNER or closer is needed",
        "task false held back: its condition is false",
        "task broken held back: its condition failed or took too long",
        None,
        "task off is disabled",
    ]
    assert [one.task_id for one in said.tasks] == ["open", "true"]
    assert said.status == "accepted"


async def test_a_stored_event_is_a_duplicate_and_may_be_looked_at_as_new(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    receipt = await receive(runtime, OPENED, slug="github")

    same = await told(runtime)
    other_hook = await told(runtime, replace(OPENED, delivery_key="another"))
    anew = await told(runtime, as_new=True)

    assert (same.status, same.tasks) == ("duplicate", [])
    assert same.reason == f"it is stored already, as delivery {receipt.delivery_id}"
    assert same.stored is not None
    assert other_hook.stored is not None
    assert (same.stored.by, other_hook.stored.by) == ("delivery_key", "change_key")
    assert same.stored.delivery_id == other_hook.stored.delivery_id == receipt.delivery_id
    assert same.stored.executions == receipt.executions
    assert same.stored.canonical_triggers == ["issue.created"]
    assert (anew.status, [one.task_id for one in anew.tasks]) == ("accepted", ["triage"])
    assert anew.stored == same.stored


async def test_an_event_that_started_nothing_is_said_to_be_routed_anew(runtime: Runtime) -> None:
    first = await receive(runtime, OPENED, slug="github")
    await mapped("triage")

    said = await told(runtime)
    again = await receive(runtime, OPENED, slug="github")

    assert said.stored is not None
    assert (said.stored.delivery_id, said.stored.is_routed_anew) == (first.delivery_id, True)
    assert said.stored.reason == "no mapping knows issues/opened"
    assert (said.status, [one.task_id for one in said.tasks]) == ("accepted", ["triage"])
    assert (again.status, again.delivery_id) == ("accepted", first.delivery_id)


async def test_our_own_doing_a_ping_and_a_disabled_project_start_nothing(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await Effect.create(
        execution_id=1, key="answer", kind="comment", source="github", project_key="acme/api",
        item_kind="issue", item_key="7", content={}, content_hash="h", marker="m" * 32,
        platform_id="501", status="sent",
    )  # fmt: skip

    ours = await told(runtime, replace(OPENED, comment_id="501"))
    ping = await told(runtime, replace(OPENED, is_ping=True))
    project = await Project.create(
        name="P", source="github", source_project_id="acme/api", enabled=False
    )
    disabled = await told(runtime)

    for said, reason in (
        (ours, "our own doing: we posted this comment"),
        (ping, "a ping"),
        (disabled, "its project is disabled"),
    ):
        assert (said.status, said.reason, said.tasks) == ("ignored", reason, [])
        assert [one.canonical_trigger for one in said.triggers] == ["issue.created"]
        assert [one.is_open for one in said.gates] == [True]
    assert (ping.project_id, disabled.project_id) == (None, project.id)


async def test_bots_that_had_their_share_are_said_to_start_nothing(runtime: Runtime) -> None:
    await mapped("triage")
    bot = replace(OPENED, actor=Actor(login="helper[bot]", is_bot=True))
    for number in range(BOT_RUNS_AN_HOUR):
        key = f"bot-{number}"
        before = await told(runtime, replace(bot, delivery_key=key, change_key=key))
        assert before.status == "accepted"
        await receive(runtime, replace(bot, delivery_key=key, change_key=key), slug="github")

    said = await told(runtime, replace(bot, delivery_key="next", change_key="next"))
    person = await told(runtime, replace(OPENED, delivery_key="next", change_key="next"))

    assert (said.status, said.tasks) == ("ignored", [])
    assert said.reason == "bots have started 5 runs on this item within the hour"
    assert person.status == "accepted"


async def test_a_stale_configuration_is_read_anew_for_the_simulation(runtime: Runtime) -> None:
    await told(runtime)
    runtime.configuration = Configuration(version=0)
    await mapped("triage")

    said = await told(runtime)

    assert [one.task_id for one in said.tasks] == ["triage"]


async def test_a_task_that_nobody_can_do_says_why_it_would_fail(runtime: Runtime) -> None:
    await mapped("triage")

    [task] = (await told(runtime)).tasks

    assert (task.agent_id, task.messages, task.tools) == (None, [], [])
    assert task.error == (
        "actor_id: agent 'pm_sarah' of task 'triage' does not exist, and the task has no "
        "actor_fallback"
    )


async def test_the_agent_is_chosen_by_capabilities_and_a_missing_model_is_named(
    runtime: Runtime,
) -> None:
    await mapped("triage")
    await TaskDefinition.filter(id="triage").update(required_capabilities=["python"])
    await Agent.create(id="dev_alex", name="Alex", role="dev", prompt="You are Alex.")
    await AgentCapability.create(agent_id="dev_alex", capability="python")

    [task] = (await told(runtime)).tasks
    await Agent.filter(id="dev_alex").update(model="anthropic/own")
    [with_model] = (await told(runtime)).tasks

    assert (task.agent_id, task.agent_reason) == (
        "dev_alex",
        "dev_alex has 1 of 1 required: python; the task's actor pm_sarah does not exist",
    )
    assert task.model is None
    assert (task.error or "").startswith("no model is configured: set LLM_MODEL")
    assert (with_model.model, with_model.error) == ("anthropic/own", None)
    assert task.messages[0].content.startswith("You are Alex.")


async def test_tools_are_those_that_task_and_agent_allow_and_none_without_rounds(
    runtime: Runtime,
) -> None:
    await seed("tools")
    await mapped("triage")
    await Agent.create(
        id="pm_sarah", name="S", role="pm", prompt="P", tools=["add_labels", "recall"]
    )
    await TaskDefinition.filter(id="triage").update(tools=["add_labels", "add_comment"])

    [task] = (await told(runtime)).tasks
    await TaskDefinition.filter(id="triage").update(max_tool_rounds=0)
    [mute] = (await told(runtime)).tasks

    assert [one.name for one in task.tools] == ["add_labels"]
    assert mute.tools == []


async def test_memories_are_recalled_as_the_run_would(runtime: Runtime) -> None:
    await mapped("triage")
    await Agent.create(id="pm_sarah", name="S", role="pm", prompt="P")
    project = await Project.create(name="P", source="github", source_project_id="acme/api")
    other = await Project.create(name="O", source="github", source_project_id="acme/other")
    event = replace(
        OPENED, subject=Subject(kind="issue", project="acme/api", key="7", title="Login fails")
    )
    for key, owner in (("ours", project.id), ("theirs", other.id)):
        await store.remember(
            runtime.settings, key=key, content="Login fails when the session expires.",
            scope=MemoryScope.PROJECT, agent_id=None, project_id=owner, ttl_seconds=None,
        )  # fmt: skip

    [task] = (await told(runtime, event)).tasks

    assert [one.key for one in task.memories] == ["ours"]
    assert [one.role for one in task.messages] == ["system", "user", "user"]
    assert '"ours", project memory' in task.messages[1].content
    assert task.memories_error is None


async def test_a_recall_that_fails_is_told_and_tried_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mapped("triage", "discovery")
    await Agent.create(id="pm_sarah", name="S", role="pm", prompt="P")
    asked = []

    async def late(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise TimeoutError

    monkeypatch.setattr("aether.engine.opening.recall_for_run", late)
    said = await told(runtime)

    assert [one.memories_error for one in said.tasks] == [
        "the search for memories took too long"
    ] * 2
    assert [len(one.messages) for one in said.tasks] == [2, 2]
    assert len(asked) == 1


async def test_where_the_answer_would_go(runtime: Runtime) -> None:
    await mapped("triage")
    deployment = replace(
        OPENED, subject=Subject(kind="deployment", project="acme/api", key="9"), delivery_key="d"
    )

    [on_item] = (await told(runtime)).tasks
    [recorded] = (await told(runtime, deployment)).tasks
    [nowhere] = (await told(runtime, replace(OPENED, subject=None))).tasks
    runtime.settings = runtime.settings.model_copy(update={"tracker_updates_enabled": False})
    [switched_off] = (await told(runtime)).tasks

    assert (on_item.answer.place, on_item.answer.item_key, on_item.answer.reason) == (
        AnswerPlace.ITEM, "7", None,
    )  # fmt: skip
    assert recorded.answer.place is nowhere.answer.place is AnswerPlace.RECORD
    assert recorded.answer.reason == "the event is about no item that can be commented on"
    assert (switched_off.answer.place, switched_off.answer.reason) == (
        AnswerPlace.RECORD, "TRACKER_UPDATES_ENABLED is false",
    )  # fmt: skip
