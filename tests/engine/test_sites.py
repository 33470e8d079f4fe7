"""Two sites of one platform with equal ids and keys: each is heard, answered and left alone."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from aether import sources
from aether.config import Settings
from aether.credentials import Credentials
from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.engine.chat import Answer, Asked, Ears, converse
from aether.engine.execute import execute
from aether.engine.own_doing import why_ours
from aether.engine.poll import poll_source
from aether.engine.receive import Receipt
from aether.engine.runtime import install
from aether.engine.told import tells_a_state
from aether.errors import NotConfiguredError
from aether.events import SourceEvent, Subject
from aether.models import (
    Delivery,
    Effect,
    PollSource,
    Project,
    TaskDefinition,
    TaskExecution,
    ToolExecution,
)
from aether.platform_auth import site_of
from aether.vocabulary import AnswerMode, SourceName
from resolvers.deliveries import receive_delivery
from resolvers.integrations import NewIntegration, create_integration
from resolvers.polling import NewPollSource, create_poll_source
from resolvers.seeding import seed
from tests.sources.jira.conftest import serve
from tests.sources.jira.site import ANN, SECRET
from tests.sources.jira.site_state import DONE, Issue
from tests.sources.jira.stand_in import TOKEN, JiraStandIn
from tests.sources.jira.test_runs import World, running, text

KEY = "a key of the tests that is at least 32 characters long"
SLUG = "jira-of-berlin"
__all__ = ["serve"]


@dataclass
class Two:
    """The environment's Jira, and another one that an integration speaks to."""

    world: World
    own: JiraStandIn
    other: JiraStandIn
    integration_id: int

    @property
    def site(self) -> str:
        return self.other.url.removeprefix("http://")

    async def deliver(self) -> list[Receipt]:
        """Every webhook that both have sent meanwhile, each by its own address."""
        receipts = []
        for slug, jira in (("jira", self.own), (SLUG, self.other)):
            told, jira.webhooks = jira.webhooks, []
            receipts += [await receive_delivery(slug, *one) for one in told]
        return receipts

    async def work(self, execution_id: int, *replies: Any) -> TaskExecution:
        self.world.model.say(by_turn(list(replies)))
        await execute(self.world.runtime, execution_id)
        done: TaskExecution = await TaskExecution.get(id=execution_id)
        assert done.status == "succeeded", done.error
        return done

    def comments(self, issue: Issue) -> list[str]:
        return self.world.comments(issue)


@pytest.fixture
async def two(serve: Any, database: str) -> AsyncIterator[Two]:
    own, other = serve(JiraStandIn(is_cloud=True)), serve(JiraStandIn(is_cloud=True))
    environment = {**own.environment(), "ENCRYPTION_KEY": KEY}
    own.environment = lambda: environment
    async with running(own, database) as world:
        install(world.runtime)
        made = await create_integration(
            NewIntegration.model_validate(
                {
                    "source": "jira",
                    "name": "Berlin",
                    "slug": SLUG,
                    "base_url": other.url,
                    "credentials": {
                        "email": other.helper.email, "api_token": TOKEN, "is_cloud": "true",
                    },
                    "webhook": {"secret": SECRET},
                }
            )
        )  # fmt: skip
        yield Two(world=world, own=own, other=other, integration_id=made.id)
        install(None)


async def test_equal_ids_of_two_sites_are_two_things_and_each_is_answered_once(two: Two) -> None:
    issues = [two.own.open(), two.other.open()]
    first, second = await two.deliver()
    await two.work(first.executions[0], Reply.text("Here."))
    await two.work(second.executions[0], Reply.text("In Berlin."))
    echoes = await two.deliver()

    assert (issues[0].id, issues[0].key) == (issues[1].id, issues[1].key)
    assert [one.status for one in (first, second)] == ["accepted", "accepted"]
    assert [two.comments(one) for one in issues] == [["Here."], ["In Berlin."]]
    assert issues[0].comments[0].id == issues[1].comments[0].id
    assert [one.status for one in echoes] == ["ignored", "ignored"]
    keys = [one.change_key for one in await Delivery.all().order_by("id").limit(2)]
    assert keys[1] == f"site:{two.site} {keys[0]}"
    assert [one.site for one in await Effect.all().order_by("id")] == ["", two.site]


async def test_a_comment_id_of_one_site_never_silences_the_other_s(two: Two) -> None:
    issues = [two.own.open(), two.other.open()]
    receipts = await two.deliver()
    await two.work(receipts[0].executions[0], Reply.text("Here."))
    await two.deliver()
    for issue, jira in zip(issues, (two.own, two.other), strict=True):
        jira.say(issue, "A person says so.", ANN)
    ours, theirs = issues[0].comments[0], issues[1].comments[0]

    [_, by_ann] = await two.deliver()

    assert ours.id == theirs.id
    assert by_ann.status == "accepted"


async def test_a_poll_and_a_webhook_of_one_site_agree_and_the_environment_s_keys_stay(
    two: Two,
) -> None:
    two.other.open(body=None)
    [heard] = await two.deliver()
    source = await create_poll_source(
        NewPollSource.model_validate(
            {"source": "jira", "project_id": "OPS", "integration_id": two.integration_id}
        )
    )
    await PollSource.filter(id=source.id).update(
        begins_at=source.created_at - timedelta(minutes=10), requested_at=source.created_at
    )
    two.other.open("Another")
    await poll_source(two.world.runtime, source.id)
    [again] = await two.deliver()

    assert heard.status == "accepted"
    assert again.status == "duplicate"
    told = await Delivery.all().order_by("id")
    assert [one.event.get("site") for one in told] == [two.site] * 2
    assert all(one.change_key.startswith(f"site:{two.site} ") for one in told)
    two.own.open()
    [own] = await two.deliver()
    assert own.status == "accepted"
    assert not (await Delivery.get(id=own.delivery_id)).change_key.startswith("site:")


async def test_one_comment_for_a_task_and_an_item_is_one_for_each_site(two: Two) -> None:
    await TaskDefinition.filter(id="triage").update(answer_mode=AnswerMode.UPDATE)
    issues = [two.own.open(), two.other.open()]
    receipts = await two.deliver()
    await two.work(receipts[0].executions[0], Reply.text("Here."))
    await two.work(receipts[1].executions[0], Reply.text("In Berlin."))
    await two.deliver()
    two.other.say(issues[1], "And now?", ANN)
    [more] = await two.deliver()
    await two.work(more.executions[0], Reply.text("Still in Berlin."))

    assert two.comments(issues[0]) == ["Here."]
    assert two.comments(issues[1]) == ["Still in Berlin.", "And now?"]
    echoed = await two.deliver()
    assert [one.status for one in echoed] == ["ignored"]


async def test_tools_and_echoes_stay_on_their_site(two: Two) -> None:
    issues = [two.own.open(), two.other.open()]
    receipts = await two.deliver()
    await two.work(
        receipts[1].executions[0],
        Reply.calls(ToolCallScript("add_labels", {"labels": ["late"]})),
        Reply.text("Labelled."),
    )
    echoes = await two.deliver()
    two.own.change(issues[0], ANN, labels=["late"])  # the very change, by a person, elsewhere

    [by_ann] = await two.deliver()

    assert [issues[0].labels, issues[1].labels] == [["late"], ["late"]]
    assert {one.status for one in echoes} == {"ignored"}
    assert by_ann.status == "accepted"


async def test_no_credential_of_another_site_is_asked(two: Two) -> None:
    credentials = two.world.runtime.credentials

    own = await credentials.outbound(SourceName.JIRA)
    other = await credentials.outbound(SourceName.JIRA, site=two.site)
    with pytest.raises(NotConfiguredError, match=r"speaks to jira at nowhere\.example\.com"):
        await credentials.outbound(SourceName.JIRA, site="nowhere.example.com")

    assert (own.base_url, other.base_url) == (two.own.url, two.other.url)


async def test_rates_and_states_are_counted_for_each_site(two: Two) -> None:
    await TaskDefinition.filter(id="triage").update(max_runs_per_item_hour=1)
    two.own.open()
    two.other.open()

    receipts = await two.deliver()

    assert [one.status for one in receipts] == ["accepted", "accepted"]


async def test_a_close_on_one_site_cancels_nothing_on_the_other(two: Two) -> None:
    await TaskDefinition.filter(id="triage").update(cancel_on_close=True)
    issues = [two.own.open(), two.other.open()]
    own, other = await two.deliver()

    two.other.move(issues[1], DONE, ANN)
    await two.deliver()

    assert (await TaskExecution.get(id=own.executions[0])).status == "queued"
    assert (await TaskExecution.get(id=other.executions[0])).status == "cancelled"


def test_a_key_that_names_no_act_is_known_as_such_on_every_site() -> None:
    event = SourceEvent(
        source=SourceName.JIRA, delivery_key="d", change_key="body:0", event_name="x",
        subject=Subject(kind="issue", project="OPS", key="OPS-7"), site="jira.example.com",
        happened_at="2026-02-18T10:00:00Z",
    )  # fmt: skip

    stored = replace(event, change_key=f"{event.key_prefix}body:0")

    assert (tells_a_state(event), tells_a_state(stored)) == (True, True)
    assert not tells_a_state(replace(event, change_key=f"{event.key_prefix}issue:7:created"))


@pytest.mark.parametrize(
    ("told", "site"),
    [
        (None, ""),
        ("https://Jira.example.com:443/", ""),
        ("https://jira.example.com", ""),
        ("http://jira.example.com/", ""),
        ("https://jira.example.com/team", "jira.example.com/team"),
        ("https://jira.example.com:8443", "jira.example.com:8443"),
        ("https://berlin.example.com/" + "x" * 300, "sha256:"),
    ],
)
def test_a_site_is_named_by_its_address_however_it_is_written(told: str | None, site: str) -> None:
    settings = Settings.from_environment({"JIRA_URL": "https://jira.example.com"})

    named = site_of(settings, SourceName.JIRA, told)

    assert named == site or (site == "sha256:" and named.startswith(site))
    assert len(named) <= 200


async def test_an_event_of_before_sites_were_told_apart_reads_as_of_the_environment_s(
    two: Two,
) -> None:
    two.own.open()
    [receipt] = await two.deliver()
    stored = await Delivery.get(id=receipt.delivery_id)
    source = sources.get("jira")
    assert source is not None

    assert "site" not in stored.event
    event = replace(source.extract(*_first(two.own)), site="")
    assert await why_ours(event) is None


def _first(jira: JiraStandIn) -> tuple[Mapping[str, str], bytes]:
    jira.open("Next")
    return jira.webhooks[-1]


async def test_a_chat_reads_its_project_where_that_project_s_integration_leads(two: Two) -> None:
    await seed("tools")
    two.own.open("At home.")
    two.other.open("In Berlin.")
    here = await Project.create(name="Ops", source="jira", source_project_id="OPS")
    titles = [await _read_in_chat(two, here.id)]

    credentials = {"email": two.other.helper.email, "api_token": TOKEN, "is_cloud": "true"}
    of_project = {"source": "jira", "name": "Of Ops", "slug": "of-ops", "base_url": two.other.url,
                  "project_id": here.id, "credentials": credentials,
                  "webhook": {"secret": SECRET}}  # fmt: skip
    await create_integration(NewIntegration.model_validate(of_project))
    titles.append(await _read_in_chat(two, here.id))

    assert titles == ["At home.", "In Berlin."]


async def test_without_the_environment_s_credential_a_chat_reads_where_everybody_s_leads(
    two: Two,
) -> None:
    await seed("tools")
    two.other.open("In Berlin.")
    here = await Project.create(name="Ops", source="jira", source_project_id="OPS")
    without = two.world.runtime.settings.model_copy(update={"jira_api_token": None})
    runtime = replace(two.world.runtime, settings=without, credentials=Credentials(without))
    install(runtime)

    title = await _read_in_chat(replace(two, world=replace(two.world, runtime=runtime)), here.id)

    await runtime.credentials.close()
    assert title == "In Berlin."


async def test_a_chat_is_not_shown_comments_for_few_nor_items_of_other_projects(two: Two) -> None:
    await seed("tools")
    issue = two.own.open("At home.")
    two.own.say(issue, text(two.world, "For everybody."), ANN)
    two.own.say(
        issue, text(two.world, "For few."), ANN, visibility={"type": "role", "value": "Staff"}
    )
    here = await Project.create(name="Ops", source="jira", source_project_id="ops")
    two.own.door.calls.clear()

    answer = await _chat(
        two,
        here.id,
        Reply.calls(
            ToolCallScript("list_comments", {"issue": issue.key}),
            ToolCallScript("get_issue", {"issue": "SEC-1"}),
            ToolCallScript("get_issue", {"issue": issue.id}),
        ),
    )

    comments = two.world.model.requests[-1]["messages"][-3]["content"]
    assert "For everybody." in comments
    assert "For few." not in comments
    assert '"restricted": 1' in comments
    assert [(one.status, one.error) for one in answer.tool_calls[1:]] == [
        ("refused", "issue: SEC-1 is no item of the project ops"),
        ("refused", f"issue: {issue.id} is no item of the project ops"),
    ]
    assert two.own.asked == [f"GET /issue/{issue.key}/comment"]


async def _chat(two: Two, project_id: int, *replies: Reply) -> Answer:
    two.world.model.say(by_turn([*replies, Reply.text("Read.")]))
    messages = [{"role": "user", "content": "What is it?"}]
    asked = Asked(agent_id=None, models=(None,), messages=messages, use_tools=True,
                  project_id=project_id)  # fmt: skip
    return await converse(two.world.runtime.settings, asked, Ears())


async def _read_in_chat(two: Two, project_id: int) -> str:
    """The title of OPS-7 as a chat reads it."""
    call = ToolCallScript("get_issue", {"issue": "OPS-7"})
    answer = await _chat(two, project_id, Reply.calls(call))
    [ran] = answer.tool_calls
    assert ran.status == "succeeded", ran.error
    stored = await ToolExecution.get(id=ran.tool_execution_id)
    return str(json.loads(stored.result or "")["title"])
