"""What a comment for few asked is answered to few: never to everybody, on no way there is."""

from typing import Any

import pytest

from aether.demo.model import Reply, ToolCallScript
from aether.errors import InvalidInputError
from aether.events import SourceEvent, Subject, event_from_summary
from aether.models import Delivery, Effect, TaskDefinition, ToolExecution
from aether.sources.base import NewItem
from aether.sources.jira import Jira, audience
from aether.sources.jira.extract import read
from aether.vocabulary import AnswerMode
from tests.sources.jira import test_runs as runs
from tests.sources.jira.site import ANN, plain
from tests.sources.jira.site_state import Issue
from tests.sources.jira.test_runs import CALL, World

world = runs.world
ROLE = {"type": "role", "value": "Developers"}
GROUP = {"type": "group", "value": "staff", "identifier": "276f955c-63d7-42c8-9520-92d01dca0625"}
INTERNAL = [{"key": "sd.public.comment", "value": {"internal": True}}]
KINDS: list[dict[str, Any]] = [
    {"visibility": ROLE}, {"visibility": GROUP}, {"properties": INTERNAL},
    {"visibility": ROLE, "properties": INTERNAL},
]  # fmt: skip


def shown_to(comment: Any) -> tuple[Any, bool]:
    """Whom a comment is shown to: a role or a group, and whether customers are."""
    told = comment.visibility or {}
    return told.get("identifier") or told.get("value"), comment.is_public


async def asked(world: World, **told: Any) -> tuple[Issue, int]:
    """An issue with a comment for few, and the execution that it started."""
    issue, _ = await world.opened()
    world.jira.say(issue, runs.text(world, "Is it the parser?"), ANN, **told)
    receipts = [one for one in await world.deliver_all() if one.status == "accepted"]
    return issue, receipts[0].executions[0]


@pytest.mark.parametrize("told", KINDS)
async def test_a_comment_for_few_is_answered_to_them_alone(
    world: World, told: dict[str, Any]
) -> None:
    issue, execution_id = await asked(world, **told)

    done = await world.work(execution_id, Reply.text("It is."))

    assert done.status == "succeeded"
    question, answer = issue.comments
    assert shown_to(answer)[0] == shown_to(question)[0]
    assert not answer.is_public


async def test_a_comment_for_everybody_is_answered_to_everybody(world: World) -> None:
    issue, execution_id = await asked(world)

    await world.work(execution_id, Reply.text("It is."))

    assert [shown_to(one) for one in issue.comments] == [(None, True)] * 2


async def test_a_second_part_leaves_the_comment_to_those_it_is_for(world: World) -> None:
    issue, execution_id = await asked(world, visibility=ROLE)

    await world.work(
        execution_id,
        Reply.calls(CALL("add_comment", {"body": "First."}, "c1")),
        Reply.calls(CALL("add_comment", {"body": "Second."}, "c2")),
        Reply.text("Done."),
    )

    assert world.comments(issue)[1:] == ["First.\n\nSecond."]
    assert shown_to(issue.comments[1]) == ("Developers", False)


async def test_one_comment_for_a_task_is_one_for_each_circle_of_readers(world: World) -> None:
    await TaskDefinition.filter(id="triage").update(answer_mode=AnswerMode.UPDATE)
    issue, first = await world.opened()
    await world.work(first, Reply.text("For all."))
    await world.deliver_all()
    for text in ("For few.", "For few again."):
        world.jira.say(issue, runs.text(world, "And?"), ANN, visibility=ROLE)
        [receipt] = [one for one in await world.deliver_all() if one.status == "accepted"]
        await world.work(receipt.executions[0], Reply.text(text))
        echoes = await world.deliver_all()
        assert {one.status for one in echoes} <= {"ignored", "duplicate"}

    by_us = [one for one in issue.comments if one.author == world.jira.helper]
    assert [plain(one.body) for one in by_us] == ["For all.", "For few again."]
    assert [shown_to(one) for one in by_us] == [(None, True), ("Developers", False)]
    assert {one.audience for one in await Effect.all()} == {"", "internal role:Developers"}


async def test_what_only_few_may_read_becomes_no_issue(world: World) -> None:
    _, execution_id = await asked(world, visibility=ROLE)
    call = ToolCallScript("create_issue", {"title": "Part", "body": "Of it."}, "c1")

    await world.work(execution_id, Reply.calls(call), Reply.text("I could not."))

    assert list(world.jira.issues) == ["OPS-7"]
    tried = await ToolExecution.get()
    assert tried.status == "failed"
    assert (tried.error or "").startswith("create_issue: it was asked for by a comment that only")


@pytest.mark.parametrize("told", [{}, {"properties": INTERNAL}])
async def test_an_issue_made_of_a_secured_one_is_as_secure(
    world: World, told: dict[str, Any]
) -> None:
    issue, execution_id = await asked(world, **told)
    issue.security = "10021"
    call = ToolCallScript("create_issue", {"title": "Part", "body": "Of it."}, "c1")

    await world.work(execution_id, Reply.calls(call), Reply.text("Done."))

    assert world.jira.issues["OPS-8"].security == "10021"


async def test_the_agent_that_answers_everybody_is_not_shown_what_is_for_few(world: World) -> None:
    issue, _ = await world.opened()
    world.jira.say(issue, runs.text(world, "The key is under the mat."), ANN, visibility=ROLE)
    world.jira.say(issue, runs.text(world, "Where is the key?"), ANN)
    receipts = [one for one in await world.deliver_all() if one.status == "accepted"]
    for_few, for_all = (one.executions[0] for one in receipts)
    call = Reply.calls(ToolCallScript("list_comments", {}, "c1"))

    await world.work(for_all, call, Reply.text("I do not know."))
    await world.work(for_few, call, Reply.text("I know."))

    public, restricted = await ToolExecution.all().order_by("id")
    assert "under the mat" not in str(public.result)
    assert "'restricted': 1" in str(public.result).replace('"', "'")
    assert "under the mat" in str(restricted.result)


async def test_a_review_is_refused_where_there_are_none(world: World) -> None:
    issue, execution_id = await world.opened()
    call = ToolCallScript("submit_review", {"verdict": "approve"}, "c1")

    await world.work(execution_id, Reply.calls(call), Reply.text("I see."))

    tried = await ToolExecution.get()
    assert tried.status == "refused"
    assert tried.error == "jira has no reviews; use add_comment to say what you found"
    assert world.comments(issue) == ["I see."]


async def test_whom_it_is_for_is_kept_with_the_delivery(world: World) -> None:
    await asked(world, visibility=GROUP)

    stored = await Delivery.all().order_by("-id").first()

    assert stored is not None
    event = event_from_summary(stored.event, stored.payload)
    assert event.subject is not None
    assert event.subject.visibility == "internal"
    assert event.subject.restricted_to == f"group-id:{GROUP['identifier']}"


def told(comment: dict[str, Any], security: Any = None) -> Subject:
    issue = {"key": "OPS-7", "fields": {"summary": "Boom", "security": security}}
    payload = {"comment": {"id": "900", **comment}, "issue": issue}
    event: SourceEvent = read(payload, "comment_created", delivery_key="d")
    assert event.subject is not None
    return event.subject


@pytest.mark.parametrize(
    ("comment", "security", "visibility", "restricted_to"),
    [
        ({}, None, None, None),
        ({"jsdPublic": True}, None, None, None),
        ({"jsdPublic": False}, None, "internal", None),
        ({"properties": INTERNAL}, None, "internal", None),
        ({"visibility": ROLE}, None, "internal", "role:Developers"),
        ({"visibility": {"type": "group", "value": "a:b"}}, None, "internal", "group:a:b"),
        ({"visibility": {"type": "role", "identifier": "QA"}}, None, "internal", "role:QA"),
        ({}, {"id": "10021"}, "confidential", "security:10021"),
        ({"jsdPublic": False}, {"id": "10021"}, "internal", "security:10021"),
        ({"visibility": {"type": "role"}}, None, "internal", None),
        ({"visibility": "odd"}, None, "internal", None),
    ],
)
def test_whom_a_comment_is_for_is_read(
    comment: dict[str, Any], security: Any, visibility: str | None, restricted_to: str | None
) -> None:
    subject = told(comment, security)

    assert (subject.visibility, subject.restricted_to) == (visibility, restricted_to)


def test_a_restriction_that_cannot_be_repeated_is_refused_and_not_left_out() -> None:
    for restricted_to in ("planet:mars", "role:" + "x" * 300):
        subject = Subject(
            kind="issue", project="OPS", key="OPS-7", visibility="internal",
            restricted_to=restricted_to,
        )  # fmt: skip
        with pytest.raises(InvalidInputError, match=r"^visibility: "):
            audience.comment_fields(subject)


async def test_an_issue_that_comes_from_nothing_asks_for_nothing(client: Any, jira: Any) -> None:
    await Jira().create_item(client, "OPS", NewItem(title="New"), timeout=5)

    assert jira.asked == ["GET /project/OPS", "POST /issue"]
