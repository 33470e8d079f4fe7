"""Who may poll when: one worker at a time, a due moment once, later where a poll failed."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from aether.actors import polls, under_way
from aether.clock import now
from aether.crypto import Vault
from aether.db import rows
from aether.engine import due, poll
from aether.engine.due import prune_ticks, send_due_polls
from aether.engine.poll import poll_source
from aether.engine.runtime import install
from aether.models import AuditEntry, Integration, PollSource, Project
from aether.queue import Job
from aether.sources.base import PollPage
from aether.sources.github import GitHub
from resolvers.polling import PollSourceChanges, update_poll_source
from tests.polling import REPO, TOKEN, Rig, ago, count, opened_at, rigged

KEY = "key-key-key-key-key-key-key-key-key-key"
LISTS = r"/repos/acme/api/issues$"


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with rigged(database, LEASE_SECONDS="0.6", ENCRYPTION_KEY=KEY) as made:
        yield made


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, for 20 s at most; the condition ends the wait."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)


async def begun(rig: Rig) -> tuple["asyncio.Task[None]", threading.Event]:
    """A poll whose first list is not answered before the event is set."""
    gate = threading.Event()
    rig.github.delay_next("GET", LISTS, delay=gate)
    await rig.want()
    task = asyncio.create_task(poll_source(rig.runtime, rig.id))

    async def asked() -> bool:
        return any(one.path.endswith("/issues") for one in rig.github.calls)

    await until(asked)
    return task, gate


async def test_two_workers_with_one_hint_poll_once(rig: Rig) -> None:
    rig.github.add_issue(REPO, 7, "Boom")
    await rig.want()

    await asyncio.gather(*(poll_source(rig.runtime, rig.id) for _ in range(3)))

    lists = [one for one in rig.github.calls if one.path == f"/repos/{REPO}/issues"]
    assert len(lists) == 1
    assert await rig.started() == [("issue.created", "7")]


async def test_a_hint_for_a_poll_that_nobody_wants_or_that_is_gone_does_nothing(rig: Rig) -> None:
    await poll_source(rig.runtime, rig.id)
    await poll_source(rig.runtime, 999)

    assert rig.github.calls == []
    assert (await rig.row()).lease_token == 0


async def test_a_slow_poll_keeps_its_lease_and_nobody_polls_beside_it(rig: Rig) -> None:
    task, gate = await begun(rig)
    before = await rig.row()

    async def renewed() -> bool:
        return bool((await rig.row()).lease_until > before.lease_until)

    await until(renewed)
    with rig.calls() as calls:
        await poll_source(rig.runtime, rig.id)
    gate.set()
    await task

    assert (before.status, calls) == ("polling", [])
    row = await rig.row()
    assert (row.status, row.failures, row.lease_token) == ("idle", 0, 1)


async def test_whoever_has_lost_the_lease_saves_nothing_more(rig: Rig) -> None:
    task, gate = await begun(rig)
    await rows("UPDATE poll_source SET lease_token = lease_token + 1, lease_until = NULL")

    async with asyncio.timeout(20):
        await task  # its heartbeat finds out, though the platform has not answered
    gate.set()

    row = await rig.row()
    assert (row.cursor, row.lease_token, row.failures, row.error) == ({}, 2, 0, None)
    assert row.requested_at is not None
    assert await count("audit_entry WHERE action = 'poll.failed'") == 0


async def test_whoever_comes_back_after_the_lease_was_taken_saves_nothing(rig: Rig) -> None:
    rig.runtime.settings = rig.runtime.settings.model_copy(update={"lease_seconds": 60.0})
    task, gate = await begun(rig)
    await rows("UPDATE poll_source SET lease_token = lease_token + 1, error = 'of another'")

    gate.set()
    await task  # no heartbeat has told it

    row = await rig.row()
    assert (row.cursor, row.error, row.last_polled_at) == ({}, "of another", None)
    assert row.requested_at is not None


async def test_an_edit_between_two_polls_loses_nothing(rig: Rig) -> None:
    await rig.poll()
    rig.github.add_issue(REPO, 7, "Boom")

    for changes in ({"interval_minutes": 10}, {"enabled": False}, {"enabled": True}):
        await update_poll_source(rig.id, PollSourceChanges.model_validate(changes))
    await rig.poll()

    assert await rig.started() == [("issue.created", "7")]


async def test_a_poll_by_hand_survives_an_edit_of_a_source_that_is_switched_off(rig: Rig) -> None:
    await rows("UPDATE poll_source SET enabled = false, requested_at = now()")

    await update_poll_source(rig.id, PollSourceChanges(interval_minutes=10))

    assert (await rig.row()).status == "queued"


async def test_a_cursor_is_kept_whatever_the_platform_put_into_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def odd(*_: Any, **__: Any) -> PollPage:
        return PollPage(events=[], cursor={"v": 1, "name": "a\0b\ud800"})

    monkeypatch.setattr(GitHub, "poll", odd)

    row = await rig.poll()

    assert (row.error, row.cursor) == (None, {"v": 1, "name": "ab\ufffd"})


async def test_a_poll_whose_source_is_deleted_meanwhile_ends_quietly(rig: Rig) -> None:
    task, gate = await begun(rig)
    await PollSource.filter(id=rig.id).delete()

    gate.set()
    async with asyncio.timeout(20):
        await task

    assert await count("poll_source") == 0


async def test_a_stopping_worker_gives_the_poll_back(rig: Rig) -> None:
    task, gate = await begun(rig)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()

    row = await rig.row()
    assert (row.lease_until, row.enqueued_at, row.failures) == (None, None, 0)
    assert row.status == "queued"
    assert await send_due_polls(rig.queue) == 1


async def test_a_worker_that_is_to_end_takes_no_poll(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "STOPPING", threading.Event())
    under_way.STOPPING.set()
    await rows("UPDATE poll_source SET requested_at = now(), enqueued_at = now()")
    install(rig.runtime)

    await polls.poll_source(rig.id)
    install(None)

    row = await rig.row()
    assert (row.status, row.enqueued_at, row.lease_token) == ("queued", None, 0)
    assert rig.github.calls == []


async def test_a_poll_that_hangs_is_given_up_and_tried_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "STEP_SECONDS", 0.2)
    task, gate = await begun(rig)

    await task
    gate.set()

    row = await rig.row()
    assert (row.status, row.failures) == ("idle", 1)
    assert row.error == "github: given up after 0 s"


async def test_a_turn_is_bounded_and_the_next_goes_on_where_it_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "STEPS_A_TURN", 1)
    for number in range(1, 251):
        opened_at(rig.github.add_issue(REPO, number, "Many"), ago(seconds=1000 - number))

    await rig.poll()
    after_one = await rig.row()
    told = len(await rig.started())
    for _ in range(2):
        await poll_source(rig.runtime, rig.id)

    assert (after_one.status, after_one.last_polled_at, told) == ("queued", None, 100)
    assert rig.queue.hints.count((Job.POLL_SOURCE, [rig.id])) == 2
    assert len(await rig.started()) == 250
    assert (await rig.row()).status == "idle"


async def test_a_source_that_makes_no_progress_is_stopped(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: Any, **__: Any) -> PollPage:
        return PollPage(events=[], cursor={}, has_more=True)

    monkeypatch.setattr(GitHub, "poll", stuck)

    row = await rig.poll()

    assert (row.error, row.failures) == ("github: the poll makes no progress", 1)


async def test_a_bug_is_written_down_without_its_text_and_does_not_spin(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> PollPage:
        raise RuntimeError("held a secret")

    monkeypatch.setattr(GitHub, "poll", broken)

    row = await rig.poll()

    assert (row.error, row.status) == ("internal error (RuntimeError)", "idle")
    assert row.next_poll_at > now() + timedelta(minutes=4)
    assert "held a secret" in caplog.text  # the trace is for whoever runs this


async def test_failures_back_off_are_told_and_are_forgotten_by_a_success(rig: Rig) -> None:
    waits = []
    for _ in range(3):
        rig.github.fail_next("GET", f"^/repos/{REPO}$", status=503, times=3)
        before = now()
        row = await rig.poll()
        waits.append(round((row.next_poll_at - before).total_seconds() / 60))
    rig.github.add_issue(REPO, 7, "Boom")
    healthy = await rig.poll()

    assert waits == [1, 2, 4]
    assert (row.failures, row.error) == (3, f"GET /repos/{REPO}: answered 503, Service Unavailable")
    told = await AuditEntry.filter(action="poll.failed").order_by("id")
    assert [one.detail["failures"] for one in told] == [1, 2, 3]
    assert told[0].detail == {
        "poll_source_id": rig.id, "source": "github", "project_id": REPO, "failures": 1,
        "error": f"GET /repos/{REPO}: answered 503, Service Unavailable",
    }  # fmt: skip
    assert (healthy.failures, healthy.error) == (0, None)
    assert healthy.next_poll_at > now() + timedelta(minutes=4)
    assert await rig.started() == [("issue.created", "7")]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "acme/api: there is no such project, or the credential may not see it "
              "(GET /repos/acme/api: answered 404, Not Found)"),
        (403, "acme/api: the credential may not read this "
              "(GET /repos/acme/api: answered 403, Forbidden)"),
        (401, "acme/api: the credential is refused "
              "(GET /repos/acme/api: answered 401, Unauthorized)"),
    ],
)  # fmt: skip
async def test_a_refusal_says_what_to_look_at_and_waits_an_interval(
    rig: Rig, status: int, text: str
) -> None:
    await rows("UPDATE poll_source SET interval_minutes = 30")
    rig.github.fail_next("GET", f"^/repos/{REPO}$", status=status, times=2)

    row = await rig.poll()

    assert row.error == text
    assert timedelta(minutes=29) < row.next_poll_at - now() <= timedelta(minutes=30)


async def test_a_name_that_is_no_repository_is_told_by_its_field(rig: Rig) -> None:
    await rows("UPDATE poll_source SET source_project_id = 'PROJ'")

    row = await rig.poll()

    assert row.error == "project_id: 'PROJ' is not an owner/name of GitHub"
    assert rig.github.calls == []


async def test_a_missing_credential_names_the_setting(database: str) -> None:
    async with rigged(database, GITHUB_TOKEN="") as rig:
        row = await rig.poll()

        assert row.error == "GITHUB_TOKEN: not set, and no integration speaks to github"


async def test_no_secret_gets_into_the_error(rig: Rig) -> None:
    body = {"message": f"{TOKEN} is not welcome"}
    rig.github.fail_next("GET", f"^/repos/{REPO}$", status=404, body=body)

    row = await rig.poll()

    assert "*** is not welcome" in row.error
    assert TOKEN not in row.error


async def test_a_rate_limit_is_waited_out_as_github_says(rig: Rig) -> None:
    await rig.poll()
    rig.github.limit_rate(TOKEN, remaining=0, resets_in=1200)
    rig.github.add_issue(REPO, 7, "Boom")

    row = await rig.poll()
    with rig.calls() as calls:
        again = await rig.poll()

    assert timedelta(seconds=1150) < row.next_poll_at - now() <= timedelta(seconds=1202)
    assert "rate limit" in row.error
    assert calls == []  # not even by hand: the whole process keeps away from that host
    assert again.next_poll_at - now() <= timedelta(seconds=1202)


async def test_a_401_has_the_credential_read_again(rig: Rig) -> None:
    rig.github.fail_next("GET", f"^/repos/{REPO}$", status=401)
    rig.github.add_issue(REPO, 7, "Boom")

    row = await rig.poll()

    assert (row.failures, row.error) == (0, None)
    assert await rig.started() == [("issue.created", "7")]


async def test_the_named_integration_is_used_and_no_other(rig: Rig) -> None:
    other = "ghp_a_token_of_the_tests_0002"
    rig.github.accept(other, "somebody")
    one = await _integration(other, rig.url)
    await rows("UPDATE poll_source SET integration_id = $1", one.id)

    await rig.poll()
    used = {call.token for call in rig.github.calls}
    await Integration.filter(id=one.id).update(enabled=False)
    disabled = await rig.poll()
    await Integration.filter(id=one.id).delete()
    gone = await rig.poll()

    assert used == {other[-4:]}
    assert disabled.error == "integration_id: integration 1 is disabled"
    assert gone.error == "integration_id: no github integration 1"
    assert {call.token for call in rig.github.calls} == used


async def test_without_one_the_project_s_own_goes_before_the_environment_s(rig: Rig) -> None:
    other = "ghp_a_token_of_the_tests_0002"
    rig.github.accept(other, "somebody")
    project = await Project.create(name="API", source="github", source_project_id="ACME/api")
    await _integration(other, rig.url, project_id=project.id)

    await rig.poll()

    assert {call.token for call in rig.github.calls} == {other[-4:]}


async def test_two_schedulers_fire_each_due_moment_once(rig: Rig) -> None:
    for _ in range(5):
        await rows(
            "UPDATE poll_source SET next_poll_at = now() - interval '1 second',"
            " requested_at = NULL, enqueued_at = NULL"
        )
        await asyncio.gather(*(send_due_polls(rig.queue) for _ in range(4)))

    assert rig.queue.hints == []
    assert rig.queue.sent == [(Job.POLL_SOURCE, [rig.id])] * 5
    assert await count("schedule_tick") == 5


async def test_a_due_moment_that_was_fired_is_not_fired_again(rig: Rig) -> None:
    await rows("UPDATE poll_source SET next_poll_at = '2026-02-18T10:00:00Z'")
    assert await send_due_polls(rig.queue) == 1
    await rig.poll()
    await rows("UPDATE poll_source SET next_poll_at = '2026-02-18T10:00:00Z'")

    assert await send_due_polls(rig.queue) == 0

    row = await rig.row()
    assert (row.status, row.next_poll_at > now()) == ("idle", True)


async def test_the_next_moment_is_on_the_grid_of_whole_intervals(rig: Rig) -> None:
    await rows("UPDATE poll_source SET next_poll_at = now() - interval '17 minutes 30 seconds'")
    before = (await rig.row()).next_poll_at

    await send_due_polls(rig.queue)

    row = await rig.row()
    assert row.next_poll_at - before == timedelta(minutes=20)
    assert row.status == "queued"


async def test_a_moment_that_comes_during_a_poll_is_passed_over(rig: Rig) -> None:
    task, gate = await begun(rig)
    await rows("UPDATE poll_source SET next_poll_at = now() - interval '1 second'")

    sent = await send_due_polls(rig.queue)
    gate.set()
    await task

    assert sent == 0
    row = await rig.row()
    assert (row.status, row.next_poll_at > now()) == ("idle", True)
    assert await send_due_polls(rig.queue) == 0


async def test_what_is_disabled_is_not_polled_on_schedule_but_by_hand(rig: Rig) -> None:
    rig.github.add_issue(REPO, 7, "Boom")
    await rows("UPDATE poll_source SET enabled = false, next_poll_at = now() - interval '1 day'")

    assert await send_due_polls(rig.queue) == 0
    await rig.poll()

    assert await rig.started() == [("issue.created", "7")]


async def test_a_lost_hint_and_a_dead_worker_s_poll_are_sent_again(rig: Rig) -> None:
    await rows("UPDATE poll_source SET next_poll_at = now() + interval '1 hour'")
    for columns in (
        "requested_at = now(), enqueued_at = now() - interval '11 seconds'",
        "requested_at = now(), enqueued_at = NULL",
        "requested_at = now(), enqueued_at = now() - interval '11 seconds',"
        " lease_until = now() - interval '1 second'",
    ):
        await rows(f"UPDATE poll_source SET {columns}")  # noqa: S608 # of the tests
        assert await send_due_polls(rig.queue) == 1
        assert await send_due_polls(rig.queue) == 0

    await rows("UPDATE poll_source SET lease_until = now() + interval '1 minute',"
               " enqueued_at = NULL")  # fmt: skip
    assert await send_due_polls(rig.queue) == 0


async def test_old_ticks_are_forgotten(rig: Rig) -> None:
    await rows(
        """INSERT INTO schedule_tick (schedule, due_at)
           VALUES ('poll_source:1', now() - interval '8 days'), ('poll_source:1', now())"""
    )

    await prune_ticks()

    assert await count("schedule_tick") == 1


async def test_ten_thousand_sources_that_are_not_due_are_not_read(rig: Rig) -> None:
    await rows(
        """INSERT INTO poll_source (source, source_project_id, interval_minutes, enabled, cursor,
             next_poll_at, lease_token, failures, created_at, updated_at)
           SELECT 'github', 'acme/' || n, 5, true, '{}', now() + interval '1 hour', 0, 0, now(),
             now() FROM generate_series(1, 10000) AS n"""
    )
    await rows("ANALYZE poll_source")

    for sql, values, index in (
        (due.DUE, (200,), "idx_poll_source_enabled"),
        (due.LOST, (10.0, 300.0, 200), "poll_source_wanted"),
    ):
        [found] = await rows(f"EXPLAIN (FORMAT JSON) {sql}", *values)
        plan = found["QUERY PLAN"]
        text = plan if isinstance(plan, str) else json.dumps(plan)
        assert re.search(f'"Index Name": "{index}', text), text
        assert not re.search('"Seq Scan"[^{}]*"poll_source"', text), text


async def _integration(token: str, url: str, **values: Any) -> Integration:
    one = await Integration.create(
        source="github", name=f"of {token[-4:]}", credentials_encrypted="", base_url=url, **values
    )
    one.credentials_encrypted = Vault(SecretStr(KEY)).encrypt(
        json.dumps({"token": token}),
        table="integration", column="credentials_encrypted", row_key=one.id,
    )  # fmt: skip
    await one.save()
    return one
