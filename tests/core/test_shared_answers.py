"""One comment for a task and an item: the newest answer stands there, whatever is lost or late."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aether import effects as effects_module
from aether.db import rows
from aether.demo.github import GitHubStandIn
from aether.engine.own_doing import why_ours
from aether.errors import UpstreamError
from aether.events import SourceEvent
from aether.leases import Lease, claim
from aether.models import AuditEntry, Effect, StandingAnswer, TaskExecution
from aether.sources import SOURCES
from aether.vocabulary import EffectStatus, SourceName
from tests.core import test_effects as base

github = base.github
credentials = base.credentials
REPO = base.REPO
NEWER = "a newer run of this task has answered on this item"


async def leased() -> Lease:
    """The next execution of the task, claimed."""
    execution = await TaskExecution.create(
        delivery_id=await TaskExecution.all().count() + 1, task_id="triage",
        canonical_trigger="issue.created", source="github",
    )  # fmt: skip
    lease = await claim(execution.id, seconds=30, grace_seconds=0)
    assert lease is not None
    return lease


def sharing(made: Any, lease: Lease, **changed: Any) -> effects_module.Effects:
    """The effects of an execution of a task whose answer_mode is update."""
    subject, site = changed.pop("subject", base.SUBJECT), changed.pop("site", "")
    settings, credentials = made
    return effects_module.Effects(
        settings.model_copy(update=changed), credentials, SOURCES[0], subject, lease,
        agent_id="pm_sarah", project_id=None, site=site, one_comment_of="triage",
    )  # fmt: skip


async def actions() -> list[str]:
    return [one.action for one in await AuditEntry.all().order_by("id")]


async def test_a_later_execution_edits_the_comment_of_the_one_before(
    credentials: Any, github: GitHubStandIn
) -> None:
    first = await sharing(credentials, await leased()).say("answer", "One.")
    second = await sharing(credentials, await leased()).say("answer", "Two.")

    assert base.bodies(github) == ["Two."]
    assert second == first
    assert await actions() == ["comment.posted", "comment.edited"]
    assert [one.platform_id for one in await Effect.all().order_by("id")] == [first.id] * 2


async def test_another_task_another_item_and_another_site_have_a_comment_of_their_own(
    credentials: Any, github: GitHubStandIn
) -> None:
    github.add_issue(REPO, 8, "Bang")
    await sharing(credentials, await leased()).say("answer", "One.")

    eighth = replace(base.SUBJECT, key="8")
    await sharing(credentials, await leased(), subject=eighth).say("answer", "Two.")
    other = sharing(credentials, await leased())
    other._one_comment_of = "review"
    await other.say("answer", "Three.")

    assert base.bodies(github) == ["One.", "Three."]
    assert len(github.comments(REPO, 8)) == 1
    assert await StandingAnswer.all().count() == 3


async def test_what_an_agent_says_by_a_tool_is_the_answer_likewise(
    credentials: Any, github: GitHubStandIn
) -> None:
    await sharing(credentials, await leased()).say("answer", "One.")
    speaking = sharing(credentials, await leased())

    await speaking.say("1:1:c1", "Two.")
    await speaking.say("1:2:c2", "And more.")
    await speaking.say("1:2:c2", "And more.")

    assert base.bodies(github) == ["Two.\n\nAnd more."]
    assert await speaking.has_spoken()


async def test_a_restart_edits_the_comment_as_before(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    await sharing(credentials, lease).say("answer", "Wrong.")
    await rows(
        "UPDATE task_execution SET status = 'queued', run = run + 1 WHERE id = $1",
        lease.execution_id,
    )
    again = await claim(lease.execution_id, seconds=30, grace_seconds=0)
    assert again is not None

    await sharing(credentials, again).say("answer", "Right.")

    assert base.bodies(github) == ["Right."]


async def test_an_older_execution_that_comes_late_yields_and_says_so(
    credentials: Any, github: GitHubStandIn
) -> None:
    older, newer = await leased(), await leased()
    await sharing(credentials, newer).say("answer", "New.")
    calls = [one.method for one in github.calls]

    outcome = await sharing(credentials, older).say("answer", "Old.")

    assert (outcome.status, outcome.why) == (EffectStatus.NOT_SENT, NEWER)
    assert base.bodies(github) == ["New."]
    assert [one.method for one in github.calls] == calls
    assert await actions() == ["comment.posted", "comment.superseded"]
    assert (await AuditEntry.all().order_by("-id").first()).detail["reason"] == NEWER  # type: ignore[union-attr]
    kept = await Effect.get(execution_id=older.execution_id)
    assert (kept.status, kept.content["parts"]) == (
        "not_sent", [{"key": "answer", "text": "Old."}],
    )  # fmt: skip


@pytest.mark.parametrize("newer_is_first", [True, False])
async def test_two_at_once_end_with_one_comment_and_the_newer_answer(
    credentials: Any, github: GitHubStandIn, newer_is_first: bool
) -> None:
    older, newer = await leased(), await leased()
    github.delay_next("POST|PATCH", "comments", delay=0.2, times=2)
    asked = [(older, "Old."), (newer, "New.")]

    await asyncio.gather(
        *(
            sharing(credentials, lease).say("answer", text)
            for lease, text in (reversed(asked) if newer_is_first else asked)
        )
    )

    assert base.bodies(github) == ["New."]


async def test_many_at_once_leave_one_comment(credentials: Any, github: GitHubStandIn) -> None:
    leases = [await leased() for _ in range(6)]

    await asyncio.gather(
        *(sharing(credentials, one).say("answer", f"{one.execution_id}") for one in leases)
    )

    assert base.bodies(github) == [f"{leases[-1].execution_id}"]


async def test_a_lost_post_is_found_by_the_newer_one_and_the_older_then_yields(
    credentials: Any, github: GitHubStandIn
) -> None:
    older, newer = await leased(), await leased()
    github.drop_after_commit_next("POST", "comments")
    with pytest.raises(UpstreamError) as lost:
        await sharing(credentials, older).say("answer", "Old.")
    await rows("UPDATE standing_answer SET held_until = now() - interval '1 second'")

    await sharing(credentials, newer).say("answer", "New.")
    late = await sharing(credentials, older).say("answer", "Old.")

    assert lost.value.may_have_happened
    assert late.status is EffectStatus.NOT_SENT
    assert base.bodies(github) == ["New."]


async def test_a_lost_post_is_found_again_by_the_same_execution(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.drop_after_commit_next("POST", "comments")
    with pytest.raises(UpstreamError):
        await sharing(credentials, lease).say("answer", "Once.")

    outcome = await sharing(credentials, lease).say("answer", "Once.")

    assert base.bodies(github) == ["Once."]
    assert (await actions())[-1] == "comment.found"
    assert (await StandingAnswer.get()).platform_id == outcome.id


async def test_a_lost_edit_is_made_again(credentials: Any, github: GitHubStandIn) -> None:
    await sharing(credentials, await leased()).say("answer", "One.")
    lease = await leased()
    github.drop_after_commit_next("PATCH", "comments")
    with pytest.raises(UpstreamError) as lost:
        await sharing(credentials, lease).say("answer", "Two.")

    await sharing(credentials, lease).say("answer", "Two.")

    assert lost.value.may_have_happened
    assert base.bodies(github) == ["Two."]


async def test_a_post_that_was_refused_leaves_the_turn_to_the_next(
    credentials: Any, github: GitHubStandIn
) -> None:
    older, newer = await leased(), await leased()
    github.fail_next("POST", "comments", status=422, body={"message": "Validation Failed"})
    with pytest.raises(UpstreamError):
        await sharing(credentials, newer).say("answer", "New.")
    standing = await StandingAnswer.get()

    await sharing(credentials, older).say("answer", "Old.")

    assert (standing.held_by, standing.execution_id, standing.marker) == (None, None, None)
    assert base.bodies(github) == ["Old."]


async def test_a_comment_that_was_deleted_is_replaced_and_the_audit_says_so(
    credentials: Any, github: GitHubStandIn
) -> None:
    first = await sharing(credentials, await leased()).say("answer", "One.")
    github.issue(REPO, 7).comments.clear()

    await sharing(credentials, await leased()).say("answer", "Two.")

    told = await AuditEntry.all().order_by("-id").first()
    assert told is not None
    assert (told.action, told.detail["instead_of"], told.detail["because"]) == (
        "comment.posted", first.id, "it is gone",
    )  # fmt: skip
    assert base.bodies(github) == ["Two."]
    await sharing(credentials, await leased()).say("answer", "Three.")
    assert base.bodies(github) == ["Three."]


@pytest.mark.parametrize("mode", [base.effects, sharing])
async def test_a_comment_of_another_account_is_left_and_one_of_ours_is_added_once(
    credentials: Any, github: GitHubStandIn, mode: Any
) -> None:
    lease = await leased()
    first = await mode(credentials, lease).say("1:1:c1", "One.")
    forbidden = {"message": "Resource not accessible by personal access token"}
    github.fail_next("PATCH", "comments", status=403, body=forbidden, times=2)
    github.drop_after_commit_next("POST", "comments")
    with pytest.raises(UpstreamError):
        await mode(credentials, lease).say("1:2:c2", "Two.")

    await mode(credentials, lease).say("1:2:c2", "Two.")

    assert base.bodies(github) == ["One.", "One.\n\nTwo."]
    second = await Effect.get()
    assert second.platform_id not in {None, first.id}
    github.fail_next("PATCH", "comments", status=403, body=forbidden)
    await mode(credentials, lease).say("1:3:c3", "Three.")
    told = await AuditEntry.all().order_by("-id").first()
    assert told is not None
    assert told.detail["instead_of"] == second.platform_id
    assert str(told.detail["because"]).startswith("it may not be edited: PATCH")


async def test_a_rate_limit_is_no_reason_for_another_comment(
    credentials: Any, github: GitHubStandIn
) -> None:
    await sharing(credentials, await leased()).say("answer", "One.")
    github.fail_next("PATCH", "comments", status=403, headers={"retry-after": "600"})
    lease = await leased()

    with pytest.raises(UpstreamError) as limited:
        await sharing(credentials, lease).say("answer", "Two.")

    assert (limited.value.retryable, limited.value.may_have_happened) == (True, False)
    assert base.bodies(github) == ["One."]
    assert (await StandingAnswer.get()).held_by is None


async def test_what_is_for_few_never_shares_a_comment_with_what_is_for_all(
    credentials: Any, github: GitHubStandIn
) -> None:
    internal = replace(base.SUBJECT, visibility="internal")
    for_few = replace(internal, restricted_to="role:Developers")
    await sharing(credentials, await leased()).say("answer", "For all.")

    await sharing(credentials, await leased(), subject=internal).say("answer", "Internal.")
    await sharing(credentials, await leased(), subject=for_few).say("answer", "For few.")
    await sharing(credentials, await leased(), subject=for_few).say("answer", "For few again.")

    assert base.bodies(github) == ["For all.", "Internal.", "For few again."]


async def test_the_first_shared_answer_takes_up_the_newest_comment_of_before(
    credentials: Any, github: GitHubStandIn
) -> None:
    await base.effects(credentials, await leased()).say("answer", "One.")
    await base.effects(credentials, await leased()).say("answer", "Two.")

    await sharing(credentials, await leased()).say("answer", "Three.")

    assert base.bodies(github) == ["One.", "Three."]


async def test_a_turn_that_is_held_is_waited_for_and_ends_when_its_holder_has_died(
    credentials: Any, github: GitHubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sharing(credentials, await leased()).say("answer", "One.")
    hold = "UPDATE standing_answer SET held_by = 999, held_token = 1, held_until = now() + $1"
    await rows(hold.replace("$1", "interval '1 hour'"))
    lease = await leased()
    monkeypatch.setattr(effects_module, "call_timeout", lambda _: 0.1)

    with pytest.raises(UpstreamError, match="still answering on this item") as held:
        await sharing(credentials, lease).say("answer", "Two.")
    untouched = base.bodies(github)
    monkeypatch.undo()
    await rows(hold.replace("$1", "interval '0.5 seconds'"))
    await sharing(credentials, lease).say("answer", "Two.")

    assert (held.value.retryable, held.value.may_have_happened) == (True, False)
    assert untouched == ["One."]
    assert base.bodies(github) == ["Two."]


async def test_with_updates_switched_off_nothing_is_held(
    credentials: Any, github: GitHubStandIn
) -> None:
    off = sharing(credentials, await leased(), tracker_updates_enabled=False)

    outcome = await off.say("answer", "Silent.")

    assert outcome.status is EffectStatus.NOT_SENT
    assert (await StandingAnswer.all().count(), github.calls) == (0, [])


async def test_the_webhook_of_our_edit_is_known_as_our_doing(
    credentials: Any, github: GitHubStandIn
) -> None:
    await sharing(credentials, await leased()).say("answer", "One.")
    await sharing(credentials, await leased()).say("answer", "Two.")
    [comment] = github.comments(REPO, 7)

    edited = SourceEvent(
        source=SourceName.GITHUB, delivery_key="d", change_key="c", event_name="issue_comment",
        action="edited", subject=base.SUBJECT, text=comment.body,
    )  # fmt: skip

    assert await why_ours(edited) == "our own doing: it carries our marker"
