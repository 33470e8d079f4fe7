"""What happens at GitHub is found by real processes that poll it, and answered once."""

import re
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from aether.demo.model import Reply, by_turn
from tests.e2e.system import System, wait_for

REPO = "acme/api"
MakeSystem = Callable[..., AbstractContextManager[System]]


def comments(system: System, number: int = 7) -> list[str]:
    return [
        re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one.body)
        for one in system.github.comments(REPO, number)
    ]


def polled(system: System, poll_source_id: int, *, after: str | None = None) -> dict[str, Any]:
    """The poll source, once it is at rest and has been polled; ``after`` that moment."""

    def at_rest() -> dict[str, Any] | None:
        told: dict[str, Any] = system.call("GET", f"/api/poll-sources/{poll_source_id}")
        is_over = told["status"] == "idle" and told["last_polled_at"] not in {None, after}
        return told if is_over else None

    return wait_for(at_rest, what=f"a poll of source {poll_source_id}")


def create(system: System, **values: Any) -> int:
    sent = {"source": "github", "project_id": REPO, "interval_minutes": 1, **values}
    return int(system.call("POST", "/api/poll-sources", json=sent)["id"])


@pytest.mark.slow
def test_an_issue_that_no_webhook_told_of_gets_one_comment(make_system: MakeSystem) -> None:
    with make_system() as system:
        system.start("worker")
        for _ in range(2):
            system.start("scheduler")
        system.start_web()
        system.one_task()
        for trigger in ("issue.commented", "issue.updated"):
            mapping = {"canonical_trigger": trigger, "task_id": "triage"}
            system.call("POST", "/api/tasks/triggers", json=mapping)
        system.model.say(by_turn([Reply.text("Seen.")]))
        system.github.add_issue(REPO, 7, "It breaks", "On start.")

        source_id = create(system)
        first = polled(system, source_id)
        wait_for(lambda: comments(system), what="the comment")
        [execution] = system.call("GET", "/api/task-executions")
        system.finished(execution["id"])
        told = system.call("POST", f"/api/poll-sources/{source_id}/poll")
        second = polled(system, source_id, after=first["last_polled_at"])

        assert told == {"poll_source_id": source_id, "status": "queued"}
        assert (second["failures"], second["error"]) == (0, None)
        assert comments(system) == ["Seen."]
        assert len(system.call("GET", "/api/task-executions")) == 1
        reasons = {one["reason"] for one in system.call("GET", "/api/deliveries")}
        assert any(str(reason).startswith("our own doing") for reason in reasons), reasons


@pytest.mark.slow
def test_a_worker_killed_before_the_cursor_is_saved_repeats_nothing(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    with make_system(LEASE_SECONDS="1") as system:
        system.start_web()
        system.start("scheduler")
        system.one_task()
        system.model.say(by_turn([Reply.text("Seen.")]))
        for number in (7, 8):
            system.github.add_issue(REPO, number, "It breaks", "On start.")
        doomed = system.start(
            "-m", "tests.e2e.killing_worker",
            KILL_AT="poll stored", KILL_ONCE=str(tmp_path / "killed"),
        )  # fmt: skip

        source_id = create(system)
        doomed.wait(timeout=30)
        unfinished = system.call("GET", f"/api/poll-sources/{source_id}")
        system.github.add_issue(REPO, 9, "It breaks, too", "On start.")
        system.start("worker")
        polled(system, source_id)
        wait_for(lambda: comments(system, 9), what="the comment on the third")
        for execution in system.call("GET", "/api/task-executions"):
            system.finished(execution["id"])

        assert doomed.returncode == -signal.SIGKILL
        assert unfinished["last_polled_at"] is None
        assert [comments(system, number) for number in (7, 8, 9)] == [["Seen."]] * 3
        assert len(system.call("GET", "/api/task-executions")) == 3
