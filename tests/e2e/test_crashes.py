"""Whatever is killed, whenever: each execution ends once and its comment is there once."""

import contextlib
import re
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import redis

from aether.demo.model import Reply, ToolCallScript, by_turn
from aether.embedded.postgres import Postgres
from aether.embedded.valkey import Valkey
from tests.e2e.system import System, wait_for

pytestmark = pytest.mark.slow

REPO = "acme/api"
MakeSystem = Callable[..., AbstractContextManager[System]]
SCRIPT = by_turn(
    [
        Reply.calls(ToolCallScript("create_issue", {"title": "Part", "body": "Of it."}, "c1")),
        Reply.text("Once."),
    ]
)


def comments(system: System, number: int = 7) -> list[str]:
    return [
        re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one.body)
        for one in system.github.comments(REPO, number)
    ]


@pytest.mark.parametrize(
    "checkpoint",
    [
        "claimed",
        "model answered",
        "reply stored",
        "tool create_issue",
        "tool result stored",
        "comment intended",
        "comment posted",
        "marked done",
    ],
)
def test_a_worker_killed_between_any_two_steps_leaves_one_comment(
    make_system: MakeSystem, tmp_path: Path, checkpoint: str
) -> None:
    with make_system(LEASE_SECONDS="3") as system:
        system.start_web()
        system.start("scheduler")
        system.one_task()
        system.model.say(SCRIPT)
        once = tmp_path / "killed"
        doomed = system.start(
            "-m", "tests.e2e.killing_worker", KILL_AT=checkpoint, KILL_ONCE=str(once)
        )
        [execution_id] = system.open_issue(REPO)

        doomed.wait(timeout=30)
        system.start("worker")
        done = system.finished(execution_id)

        assert doomed.returncode == -signal.SIGKILL
        assert (done["status"], done["answer"]) == ("succeeded", "Once.")
        assert comments(system) == ["Once."]
        created = list(system.github.repositories[REPO].issues.values())
        assert sorted(one.title for one in created) == ["It breaks", "Part"]
        audit = system.call("GET", "/api/agents/pm_sarah/audit?limit=500")
        assert [one["action"] for one in audit].count("task.completed") == 1


@pytest.mark.parametrize(
    "checkpoint", ["reply stored", "approval asked", "tool create_issue", "comment posted"]
)
def test_a_worker_killed_around_an_approval_asks_once_and_acts_once(
    make_system: MakeSystem, tmp_path: Path, checkpoint: str
) -> None:
    with make_system(LEASE_SECONDS="3") as system:
        system.start_web()
        system.start("scheduler")
        system.one_task()
        [task] = system.call("GET", "/api/tasks")
        wanted = {"approve_tools": ["create_issue"], "approve_answer": True}
        system.call("PUT", f"/api/tasks/{task['id']}", json=wanted)
        system.model.say(SCRIPT)
        doomed = system.start(
            "-m", "tests.e2e.killing_worker",
            KILL_AT=checkpoint, KILL_ONCE=str(tmp_path / "killed"),
        )  # fmt: skip
        [execution_id] = system.open_issue(REPO)

        started: list[object] = []

        def is_done() -> bool:
            """Approve what waits, as a person would; another worker comes where the first died."""
            if doomed.poll() is not None and not started:
                started.append(system.start("worker"))
            status = system.execution(execution_id)["status"]
            if status == "waiting_approval":
                for one in system.call("GET", "/api/approvals?status=pending"):
                    system.call("POST", f"/api/approvals/{one['id']}/approve")
            return bool(status == "succeeded")

        wait_for(is_done, seconds=150, what="the answer")

        assert doomed.returncode == -signal.SIGKILL
        assert comments(system) == ["Once."]
        created = list(system.github.repositories[REPO].issues.values())
        assert sorted(one.title for one in created) == ["It breaks", "Part"]
        asked = system.call("GET", "/api/approvals")
        assert [(one["kind"], one["status"]) for one in asked] == [
            ("answer", "approved"), ("tool", "approved"),
        ]  # fmt: skip
        audit = system.call("GET", "/api/agents/pm_sarah/audit?limit=500")
        assert [one["action"] for one in audit].count("approval.requested") == 2


def test_a_lost_hint_is_sent_again(make_system: MakeSystem, valkey: Valkey) -> None:
    with make_system() as system:
        system.start_web()
        system.one_task()
        system.model.say(Reply.text("Found."))
        [execution_id] = system.open_issue(REPO)
        with contextlib.closing(redis.Redis.from_url(valkey.url)) as broker:
            wait_for(broker.dbsize, what="the hint")
            broker.flushdb()

        system.start("worker")
        system.start("scheduler")

        assert system.finished(execution_id)["status"] == "succeeded"
        assert comments(system) == ["Found."]


def test_a_queue_that_is_down_loses_nothing(
    make_system: MakeSystem, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = Valkey(tmp_path_factory.mktemp("queue") / "valkey")
    own.start()
    try:
        with make_system(BROKER_URL=own.url) as system:
            system.start_web()
            system.start("worker")
            system.start("scheduler")
            system.one_task()
            system.model.say(Reply.text("After all."))
            own.stop()

            [execution_id] = system.open_issue(REPO)
            own.start()

            assert system.finished(execution_id, seconds=90)["status"] == "succeeded"
            assert comments(system) == ["After all."]
    finally:
        own.stop()


def test_a_database_that_is_down_is_said_to_be(
    make_system: MakeSystem, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("database")
    own = Postgres(folder / "postgres", durable=False)
    own.start()
    try:
        own.ensure_database("aether")
        with make_system(DATABASE_URL=own.dsn("aether")) as system:
            migrating = system.start("migrate")
            assert migrating.wait(timeout=30) == 0
            system.start_web()
            own.stop()

            system.github.add_issue(REPO, 7, "It breaks")
            payload = system.github.opened_payload(REPO, 7)
            refused = system.deliver(payload)
            health = httpx.get(f"{system.url}/health", timeout=10)
            own.start()
            wait_for(
                lambda: httpx.get(f"{system.url}/health", timeout=10).status_code == 200,
                what="the web process to be well again",
            )
            taken = system.deliver(payload)

            assert (refused.status_code, health.status_code) == (503, 503)
            assert set(refused.json()) == {"error"}
            assert taken.json()["status"] == "ignored"  # stored: nothing is mapped here
    finally:
        own.stop()


def test_a_run_longer_than_its_lease_is_done_once(make_system: MakeSystem) -> None:
    with make_system(LEASE_SECONDS="2") as system:
        system.start_web()
        system.start("worker")
        system.start("worker")
        system.start("scheduler")
        system.one_task()
        system.model.say(Reply.text("Slowly.").after(8))

        [execution_id] = system.open_issue(REPO)
        done = system.finished(execution_id)

        assert done["status"] == "succeeded"
        assert len(system.model.requests) == 1
        assert comments(system) == ["Slowly."]


def test_a_job_that_kills_its_worker_ends_as_failed_and_others_go_on(
    make_system: MakeSystem,
) -> None:
    with make_system(LEASE_SECONDS="1", MAX_TRIES="2") as system:
        system.start_web()
        system.start("scheduler")
        system.one_task()
        system.model.say(Reply.calls(ToolCallScript("get_issue", {}, "c1")))
        kill = ("-m", "tests.e2e.killing_worker")
        first = system.start(*kill, KILL_AT="tool get_issue")
        [poison] = system.open_issue(REPO)
        first.wait(timeout=30)
        second = system.start(*kill, KILL_AT="tool get_issue")
        second.wait(timeout=30)
        system.start("worker")

        failed = system.finished(poison)
        system.model.say(Reply.text("Unharmed."))
        [other] = system.open_issue(REPO, 8)

        assert failed["status"] == "failed"
        assert failed["error"] == "its worker died or stopped answering 2 times"
        assert comments(system) == []
        assert system.finished(other)["status"] == "succeeded"
        assert comments(system, 8) == ["Unharmed."]


def test_a_worker_that_is_asked_to_stop_hands_its_runs_to_the_next(
    make_system: MakeSystem,
) -> None:
    with make_system(LEASE_SECONDS="300") as system:
        system.start_web()
        system.start("scheduler")
        system.one_task()
        leaving = system.start("worker")
        system.model.say([Reply.text("Never.").after(120), Reply.text("Handed on.")])
        [execution_id] = system.open_issue(REPO)
        wait_for(lambda: system.model.calls, what="the model to be asked")

        system.stop(leaving)
        system.start("worker")
        done = system.finished(execution_id, seconds=100)  # well before any lease is over

        assert (leaving.returncode, done["status"]) == (0, "succeeded")
        assert comments(system) == ["Handed on."]
