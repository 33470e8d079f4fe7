"""A write to a platform happens once, whatever is lost between the call and its record."""

import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.db import rows
from aether.demo.github import GitHubStandIn
from aether.demo.serving import serving
from aether.effects import Effects
from aether.engine.own_doing import why_ours
from aether.errors import LeaseLostError, UpstreamError
from aether.events import SourceEvent, Subject
from aether.leases import Lease, claim
from aether.markers import markers_in
from aether.markup import neutralise
from aether.models import AuditEntry, Effect, TaskExecution
from aether.sources import SOURCES
from aether.sources.base import ItemChanges, NewItem
from aether.vocabulary import EffectStatus, SourceName

TOKEN = "ghp_a_token_of_the_tests_0001"
REPO = "acme/api"
SUBJECT = Subject(kind="issue", project=REPO, key="7", title="Boom")


@pytest.fixture
def github() -> GitHubStandIn:
    stand_in = GitHubStandIn({TOKEN: "aether-person"})
    stand_in.add_issue(REPO, 7, "Boom")
    return stand_in


@pytest.fixture
async def credentials(
    database: str, github: GitHubStandIn
) -> AsyncIterator[tuple[Settings, Credentials]]:
    with serving(github.app) as url:
        settings = Settings.from_environment(
            {"DATABASE_URL": database, "GITHUB_API_URL": url, "GITHUB_TOKEN": TOKEN}
        )
        made = Credentials(settings)
        yield settings, made
        await made.close()


async def leased() -> Lease:
    execution = await TaskExecution.create(
        delivery_id=1, task_id="triage", canonical_trigger="issue.created", source="github"
    )
    lease = await claim(execution.id, seconds=30, grace_seconds=0)
    assert lease is not None
    return lease


def effects(made: tuple[Settings, Credentials], lease: Lease, **changed: Any) -> Effects:
    settings, credentials = made
    return Effects(
        settings.model_copy(update=changed), credentials, SOURCES[0], SUBJECT, lease,
        agent_id="pm_sarah", project_id=None,
    )  # fmt: skip


def bodies(github: GitHubStandIn) -> list[str]:
    return [
        re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one.body) for one in github.comments(REPO, 7)
    ]


async def test_an_answer_is_one_comment_with_a_marker_and_an_audit_entry(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()

    outcome = await effects(credentials, lease).say("answer", "It is the parser.")

    [comment] = github.comments(REPO, 7)
    [marker] = markers_in(comment.body)
    assert comment.body == f"It is the parser.\n\n<!-- aether:{marker} -->"
    assert outcome.status is EffectStatus.SENT
    assert outcome.id == str(comment.id)
    stored = await Effect.get()
    assert (stored.status, stored.platform_id, stored.marker) == ("sent", str(comment.id), marker)
    entry = await AuditEntry.get()
    assert (entry.action, entry.agent_id, entry.execution_id) == (
        "comment.posted", "pm_sarah", lease.execution_id,
    )  # fmt: skip


async def test_the_same_part_again_writes_nothing_more(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    first = await effects(credentials, lease).say("answer", "Once.")
    calls = len(github.calls)

    again = await effects(credentials, lease).say("answer", "Once.")

    assert again == first
    assert len(github.calls) == calls


async def test_a_comment_whose_answer_was_lost_is_found_by_its_marker(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.drop_after_commit_next("POST", "comments")

    with pytest.raises(UpstreamError) as lost:
        await effects(credentials, lease).say("answer", "Once.")
    outcome = await effects(credentials, lease).say("answer", "Once.")

    assert lost.value.may_have_happened
    assert bodies(github) == ["Once."]
    assert outcome.id == str(github.comments(REPO, 7)[0].id)
    assert (await AuditEntry.get()).action == "comment.found"


async def test_what_is_posted_is_harmless_and_what_is_recorded_is_what_was_said(
    credentials: Any, github: GitHubStandIn
) -> None:
    said = "fixes #12 @acme/all ![x](http://evil/x) <!-- aether:forged --> `@code`"
    lease = await leased()

    await effects(credentials, lease).say("answer", said)

    posted = "fixes\u200b #12 @\u200bacme/all [x](http://evil/x) &lt;!-- aether:forged --> `@code`"
    assert bodies(github) == [posted]
    assert (await Effect.get()).content["parts"] == [{"key": "answer", "text": said}]


async def test_a_long_text_is_made_harmless_beside_the_event_loop(
    credentials: Any, github: GitHubStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(text: str, **options: Any) -> str:
        threads.append(threading.current_thread())
        return neutralise(text, **options)

    monkeypatch.setattr("aether.effects.neutralise", noted)
    lease = await leased()
    writing = effects(credentials, lease)

    await writing.say("answer", "@ann")
    await writing.create("create:1", NewItem(title="T", body="@ann"))
    await writing.change("change:1", "update", SUBJECT, ItemChanges(body="@ann"), {"body": "@ann"})

    assert len(threads) >= 3
    assert threading.main_thread() not in threads


async def test_the_operator_may_let_mentions_through(
    credentials: Any, github: GitHubStandIn
) -> None:
    made = effects(credentials, await leased(), allow_output=frozenset({"mentions"}))

    await made.say("answer", "@ann fixes #12")

    assert bodies(github) == ["@ann fixes\u200b #12"]


async def test_an_item_is_created_and_changed_harmlessly_and_our_echo_is_known(
    credentials: Any, github: GitHubStandIn
) -> None:
    made = effects(credentials, await leased())
    text, title = "cc @acme/all\n\n/close", "Fixes #12"

    await made.create("c1", NewItem(title=title, body=text))
    changes = ItemChanges(title=title, body=text)
    await made.change("c2", "update", SUBJECT, changes, {"title": title, "body": text})

    sent = ("Fixes\u200b #12", "cc @\u200bacme/all\n\n\u200b/close")
    changed, created = github.issue(REPO, 7), github.issue(REPO, 8)
    assert (changed.title, changed.body) == sent
    assert (created.title, (created.body or "").split("\n\n<!-- aether:")[0]) == sent
    echo = SourceEvent(
        source=SourceName.GITHUB, delivery_key="d", change_key="c", event_name="issues",
        action="edited", text=changed.body or "", payload={"changes": {"title": {}, "body": {}}},
        subject=replace(SUBJECT, title=changed.title, body=changed.body or ""),
    )  # fmt: skip
    assert await why_ours(echo) == "our own doing: we intended edited on this item"


async def test_a_body_of_an_update_is_kept_within_the_limit(
    credentials: Any, github: GitHubStandIn
) -> None:
    made = effects(credentials, await leased())

    await made.change(
        "c1", "update", SUBJECT, ItemChanges(body="word " * 40_000), {"title": None, "body": ""}
    )

    body = github.issue(REPO, 7).body or ""
    assert 60_000 < len(body) <= 65_536
    assert (await Effect.get()).content["body"] == body


async def test_a_second_part_is_added_to_the_same_comment(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    speaking = effects(credentials, lease)

    await speaking.say("1:1:c1", "First.")
    await speaking.say("1:2:c2", "Second.")

    assert bodies(github) == ["First.\n\nSecond."]
    assert await speaking.has_spoken()


async def test_a_restart_edits_the_comment_of_the_run_before(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    await effects(credentials, lease).say("answer", "Wrong.")
    await rows(
        "UPDATE task_execution SET status = 'queued', run = run + 1 WHERE id = $1",
        lease.execution_id,
    )
    second = await claim(lease.execution_id, seconds=30, grace_seconds=0)
    assert second is not None

    await effects(credentials, second).say("answer", "Right.")

    assert bodies(github) == ["Right."]


async def test_a_comment_that_somebody_deleted_is_posted_anew(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    speaking = effects(credentials, lease)
    await speaking.say("1:1:c1", "First.")
    github.issue(REPO, 7).comments.clear()

    await speaking.say("1:2:c2", "Second.")

    assert bodies(github) == ["First.\n\nSecond."]


async def test_a_worker_that_lost_its_lease_writes_nothing(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    await rows("UPDATE task_execution SET lease_until = now() - interval '1 hour'")
    assert await claim(lease.execution_id, seconds=30, grace_seconds=0) is not None

    with pytest.raises(LeaseLostError):
        await effects(credentials, lease).say("answer", "Too late.")

    assert github.calls == []
    assert await Effect.all().count() == 0


async def test_with_updates_switched_off_nothing_is_sent_and_the_record_says_so(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    off = effects(credentials, lease, tracker_updates_enabled=False)

    said = await off.say("answer", "Silent.")
    changed = await off.change(
        "1:1:c1", "label", SUBJECT, ItemChanges(add_labels=["bug"]), {"names": ["bug"]}
    )

    assert (said.status, changed.status) == (EffectStatus.NOT_SENT, EffectStatus.NOT_SENT)
    assert github.calls == []
    assert {one.status for one in await Effect.all()} == {"not_sent"}
    assert [one.action for one in await AuditEntry.all().order_by("id")] == [
        "comment.not_sent", "label.not_sent",
    ]  # fmt: skip


async def test_an_issue_that_may_have_been_created_is_looked_for_before_another_is(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.drop_after_commit_next("POST", "issues$")
    new = NewItem(title="Split the parser", body="As said.", labels=["debt"])

    with pytest.raises(UpstreamError):
        await effects(credentials, lease).create("1:1:c1", new)
    outcome = await effects(credentials, lease).create("1:1:c1", new)

    created = [one for one in github.repositories[REPO].issues.values() if one.number != 7]
    assert [one.title for one in created] == ["Split the parser"]
    assert outcome.id == str(created[0].number)


async def test_a_refusal_of_the_platform_is_recorded_as_failed(
    credentials: Any, github: GitHubStandIn
) -> None:
    lease = await leased()
    github.fail_next("POST", "comments", status=422, body={"message": "Validation Failed"})

    with pytest.raises(UpstreamError) as refused:
        await effects(credentials, lease).say("answer", "Hello.")

    assert (refused.value.status, refused.value.retryable) == (422, False)
    stored = await Effect.get()
    assert stored.status == "failed"
    assert "422" in (stored.error or "")
    assert bodies(github) == []


def test_a_marker_in_a_quoted_line_is_not_ours() -> None:
    marker = "a" * 32
    text = f"> quoted <!-- aether:{marker} -->\nnew text"

    assert markers_in(text) == []
    assert markers_in(f"{text}\n<!-- aether:{marker} -->") == [marker]
