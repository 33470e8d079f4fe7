"""What is known of a write after it failed: refused, lost, or gone; each is taken up as it is."""

from typing import Any

import pytest

from aether.db import rows
from aether.demo.github import GitHubStandIn
from aether.errors import InvalidInputError, NotConfiguredError, UpstreamError
from aether.events import Subject
from aether.models import Effect
from aether.sources.base import ItemChanges, NewItem
from tests.core import test_effects as base

github = base.github
credentials = base.credentials
leased = base.leased
effects = base.effects
REPO = base.REPO


async def test_a_deleted_comment_is_replaced_once_although_the_answer_was_lost(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    speaking = effects(credentials, lease)
    await speaking.say("1:1:c1", "First.")
    github.issue(REPO, 7).comments.clear()
    github.drop_after_commit_next("POST", "comments")

    with pytest.raises(UpstreamError) as lost:
        await speaking.say("1:2:c2", "Second.")
    lost_row = await Effect.get()
    await speaking.say("1:2:c2", "Second.")

    assert lost.value.may_have_happened
    # a webhook that comes before the record must not find the id of the comment that is gone
    assert (lost_row.status, lost_row.platform_id) == ("intended", None)
    assert base.bodies(github) == ["First.\n\nSecond."]


async def test_a_lost_comment_stays_unknown_while_it_cannot_be_looked_for(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.drop_after_commit_next("POST", "comments")
    speaking = effects(credentials, lease)
    with pytest.raises(UpstreamError):
        await speaking.say("1:1:c1", "Once.")
    github.fail_next("GET", "comments", status=404)

    with pytest.raises(UpstreamError) as unknown:
        await speaking.say("1:1:c1", "Once.")

    assert (unknown.value.may_have_happened, unknown.value.status) == (True, 404)
    assert (await Effect.get()).status == "intended"
    await speaking.say("1:1:c1", "Once.")
    assert base.bodies(github) == ["Once."]


async def test_a_lost_issue_stays_unknown_while_there_are_no_credentials(
    credentials: Any, github: GitHubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await leased()
    github.drop_after_commit_next("POST", "issues$")
    new = NewItem(title="Split the parser", body="As said.")
    creating = effects(credentials, lease)
    with pytest.raises(UpstreamError):
        await creating.create("1:1:c1", new)

    async def nothing() -> Any:
        raise NotConfiguredError("GITHUB_TOKEN: not set")

    monkeypatch.setattr(creating, "outbound", nothing)
    with pytest.raises(UpstreamError, match="GITHUB_TOKEN") as unknown:
        await creating.create("1:1:c1", new)

    assert (unknown.value.may_have_happened, unknown.value.retryable) == (True, False)


async def test_a_write_that_was_limited_is_recorded_as_not_done_and_tried_again(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.fail_next("POST", "comments", status=429, headers={"retry-after": "600"})
    speaking = effects(credentials, lease)

    with pytest.raises(UpstreamError) as limited:
        await speaking.say("answer", "Hello.")
    failed = await Effect.get()

    assert (limited.value.retryable, limited.value.may_have_happened) == (True, False)
    assert limited.value.retry_after == pytest.approx(600, abs=2)
    assert (failed.status, failed.content["parts"]) == ("failed", [])
    assert not await speaking.has_spoken()


async def test_a_key_that_cannot_be_one_is_refused_and_recorded_so(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    elsewhere = Subject(kind="issue", project=REPO, key="x" * 300)

    with pytest.raises(InvalidInputError, match="is not a number"):
        await effects(credentials, lease).change(
            "1:1:c1", "label", elsewhere, ItemChanges(add_labels=["bug"]), {"names": ["bug"]}
        )

    assert (await Effect.get()).status == "failed"
    assert github.calls == []


async def test_an_effect_that_is_tried_again_is_an_intent_again(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    changing = effects(credentials, lease)
    told = ("1:1:c1", "label", base.SUBJECT, ItemChanges(add_labels=["bug"]), {"names": ["bug"]})
    github.fail_next("POST", "labels", status=422, body={"message": "Validation Failed"})
    with pytest.raises(UpstreamError):
        await changing.change(*told)
    seen: list[str] = []
    update = changing._source.update_item

    class Watching:
        name = changing._source.name

        async def update_item(self, *arguments: Any, **named: Any) -> Any:
            found = await rows("SELECT status FROM effect")
            seen.append(found[0]["status"])
            return await update(*arguments, **named)

    changing._source = Watching()  # type: ignore[assignment] # the one method that is called
    await changing.change(*told)

    assert seen == ["intended"]
    assert (await Effect.get()).status == "sent"
