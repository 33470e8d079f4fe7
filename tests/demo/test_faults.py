"""Faults that a test arranges happen to the calls they name, as often as they say."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from aether.demo.faults import Call, most_at_once
from aether.demo.github import GitHubStandIn
from tests.demo.conftest import REPO


def test_failures_come_in_the_order_they_were_arranged_and_write_nothing(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.fail_next("POST", "/comments$", status=403, headers={"Retry-After": "3"})
    stand_in.fail_next("POST", "/comments$", status=502, body="<html>bad gateway</html>")

    answers = [github.post("/issues/482/comments", json={"body": "hi"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [403, 502, 201]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].json() == {"message": "Forbidden"}
    assert answers[1].text == "<html>bad gateway</html>"
    assert len(stand_in.comments(REPO, 482)) == 1


def test_other_methods_and_paths_are_spared(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    stand_in.fail_next("POST|PATCH", "/comments", status=500, times=2)

    spared = [github.get("/issues/482/comments"), github.post("/issues/482/labels", json=["x"])]
    hit = [github.post("/issues/482/comments", json={"body": "x"}) for _ in range(2)]

    assert [answer.status_code for answer in spared] == [200, 200]
    assert [answer.status_code for answer in hit] == [500, 500]


def test_a_drop_after_the_commit_leaves_the_write_and_no_answer(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.drop_after_commit_next("POST", "/comments$")

    with pytest.raises(httpx.ReadError):
        github.post("/issues/482/comments", json={"body": "hi"})

    assert [comment.body for comment in stand_in.comments(REPO, 482)] == ["hi"]
    assert [call.status for call in stand_in.calls] == [None]


def test_a_drop_before_leaves_nothing(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    stand_in.drop_next("POST")

    with pytest.raises(httpx.ReadError):
        github.post("/issues/482/comments", json={"body": "hi"})

    assert stand_in.comments(REPO, 482) == []
    assert github.post("/issues/482/comments", json={"body": "hi"}).status_code == 201


def test_a_delayed_write_lands_though_the_caller_gave_up(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    gate = threading.Event()
    stand_in.delay_next("POST", delay=gate)

    with pytest.raises(httpx.ReadTimeout):
        github.post("/issues/482/comments", json={"body": "late"}, timeout=0.1)
    before = stand_in.comments(REPO, 482)
    gate.set()

    assert before == []
    deadline = time.monotonic() + 5
    while not stand_in.comments(REPO, 482):
        assert time.monotonic() < deadline
    assert [comment.body for comment in stand_in.comments(REPO, 482)] == ["late"]


def test_a_delay_after_the_commit_holds_the_answer_only(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    gate = threading.Event()
    stand_in.delay_next("POST", delay=gate, after_commit=True)

    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(github.post, "/issues/482/comments", json={"body": "hi"})
        deadline = time.monotonic() + 5
        while not stand_in.comments(REPO, 482):
            assert time.monotonic() < deadline
        assert not waiting.done()
        gate.set()

        assert waiting.result(5).status_code == 201


def test_a_delay_and_a_failure_can_hit_the_same_call(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.delay_next(delay=0.05)
    stand_in.fail_next(status=503)

    before = time.monotonic()
    answer = github.get("/issues/482")

    assert answer.status_code == 503
    assert time.monotonic() - before >= 0.05


def test_cleared_faults_do_not_happen(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    stand_in.fail_next(status=500)
    stand_in.faults.clear()

    assert github.get("/issues/482").status_code == 200


def test_the_most_calls_at_once_are_counted_from_the_record() -> None:
    def call(at: float, ended_at: float | None) -> Call:
        return Call(
            method="GET",
            path="/",
            query={},
            headers={},
            token="",
            json=None,
            at=at,
            ended_at=ended_at,
        )

    assert most_at_once([]) == 0
    assert most_at_once([call(0, 1), call(1, 2), call(2, 3)]) == 1
    assert most_at_once([call(0, 2), call(1, None), call(1.5, 3)]) == 3
