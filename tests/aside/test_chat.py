"""A chat over real HTTP: a web process, its aside, a scripted model."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from aether.demo.faults import most_at_once
from aether.demo.model import Reply, ScriptedModel
from aether.demo.serving import serving
from aether.embedded.postgres import Postgres
from tests.aside.processes import Web, has_litellm, web
from tests.conftest import emptied, make_database
from tests.e2e.system import wait_for
from tests.fakes import Replaceable

KEY: Final = "sk-of-the-chat-0002"
ASKED: Final = {"messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(key=KEY)


@pytest.fixture(scope="module")
def started(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Web, Replaceable]]:
    """A web process, started once, and where its model stands."""
    url = asyncio.run(make_database(postgres, "chat"))
    door = Replaceable(ScriptedModel().app)
    settings = {"LLM_API_KEY": KEY, "LLM_MODEL": "scripted"}
    with (
        serving(door) as model_url,
        web(url, tmp_path_factory.mktemp("web"), LLM_BASE_URL=model_url, **settings) as made,
    ):
        yield made, door


@pytest.fixture
def shared(started: tuple[Web, Replaceable], postgres: Postgres, model: ScriptedModel) -> Web:
    """The same over an emptied database, with this test's model."""
    asyncio.run(emptied(postgres.dsn("chat")))
    process, door = started
    door.app = model.app
    return process


@pytest.fixture
def process(database_url: str, tmp_path: Path, model: ScriptedModel) -> Iterator[Web]:
    with (
        serving(model.app) as url,
        web(
            database_url, tmp_path, LLM_BASE_URL=url, LLM_API_KEY=KEY, LLM_MODEL="scripted"
        ) as made,
    ):
        yield made


def ask(process: Web, **more: Any) -> httpx.Response:
    return process.client.post("/api/llm/chat", json={**ASKED, **more})


def calls_made(process: Web) -> int:
    """What usage says of calls without an agent."""
    told = process.client.get("/api/usage").json()
    return int(told[0]["llm_calls"]) if told else 0


@pytest.mark.slow
def test_a_chat_is_answered_and_the_web_process_stays_small(
    shared: Web, model: ScriptedModel
) -> None:
    process = shared
    model.say(Reply.text("Hello, you.").using(3, 2))

    plain = ask(process)
    with process.client.stream("POST", "/api/llm/chat", json={**ASKED, "stream": True}) as answer:
        told = answer.read().decode()
    aside = process.aside

    assert plain.json() == {
        "agent_id": None,
        "model": "scripted",
        "message": {"role": "assistant", "content": "Hello, you."},
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "cost_usd": 0.0,
        "tool_calls": [],
        "withheld": [],
        "unpriced_calls": 1,
        "ending": None,
    }
    assert told.endswith(f"event: done\ndata: {plain.text}\n\n")
    assert calls_made(process) == 2
    assert aside is not None
    assert has_litellm(aside)
    assert not has_litellm(process.process)
    assert process.process.memory_info().rss < 150 * 2**20
    assert KEY not in process.log.read_text()
    assert not any(KEY in part for part in aside.cmdline())


@pytest.mark.slow
def test_a_hundred_chats_at_once_are_each_answered_with_their_own(
    process: Web, model: ScriptedModel
) -> None:
    gate = threading.Event()

    def reply(asked: Any) -> Reply:
        return Reply.text(f"You said {asked.user}.").after(gate)

    model.say(reply)

    def one(number: int) -> tuple[int, str]:
        with httpx.Client(base_url=process.url, timeout=60) as client:
            message = {"role": "user", "content": f"number {number}"}
            answer = client.post("/api/llm/chat", json={"messages": [message]})
        return answer.status_code, answer.json()["message"]["content"]

    with ThreadPoolExecutor(100) as callers:
        answers = callers.map(one, range(100))
        wait_for(lambda: len(model.requests) == 100, what="every chat to reach the model")
        health = process.client.get("/health").status_code
        gate.set()
        found = list(answers)

    assert found == [(200, f"You said number {number}.") for number in range(100)]
    assert health == 200
    assert most_at_once(model.calls) == 100
    assert calls_made(process) == 100


@pytest.mark.slow
def test_a_chat_whose_aside_is_killed_is_a_503_and_the_next_one_is_answered(
    process: Web, model: ScriptedModel
) -> None:
    gate = threading.Event()
    model.say(Reply.text("Late.").after(gate))

    with ThreadPoolExecutor(2) as callers:
        plain = callers.submit(ask, process)
        streamed = callers.submit(ask, process, stream=True)
        wait_for(lambda: len(model.requests) == 2, what="both chats to reach the model")
        aside = process.aside
        assert aside is not None
        os.kill(aside.pid, signal.SIGKILL)
        answers = plain.result(), streamed.result()
    gate.set()
    after = ask(process)

    assert answers[0].status_code == 503
    assert answers[0].headers["retry-after"] == "1"
    assert "try again" in answers[0].json()["error"]
    told = [line for line in answers[1].text.splitlines() if line and not line.startswith(":")]
    name, data = told  # what keeps the connection alive stands before them on a slow machine
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "error": answers[0].json()["error"],
        "retry_after": 1,
    }
    assert after.json()["message"]["content"] == "Late."
    assert "Traceback" not in process.log.read_text()


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_call_of_the_model(
    shared: Web, model: ScriptedModel, stream: bool
) -> None:
    process = shared
    ask(process)
    never = threading.Event()
    model.say(Reply.text("one two").paced(never) if stream else Reply.text("x").after(never))
    body = json.dumps({**ASKED, "stream": stream})
    place = urlsplit(process.url)
    assert place.port is not None

    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as leaving:
        leaving.sendall(
            b"POST /api/llm/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body.encode())
        )
        wait_for(lambda: len(model.requests) == 2, what="the chat to reach the model")

    if stream:  # the stand-in notices; one that waits before its answer does not, as real ones
        wait_for(lambda: model.calls[1].ended_at is not None, what="the stream to be closed")
    wait_for(lambda: not _asks_somebody(process.aside), what="the call to be given up")
    never.set()
    model.say(Reply.text("Next."))
    assert ask(process).json()["message"]["content"] == "Next."
    broken_off = calls_made(process) - 2  # counted if anything of it had come
    assert broken_off in ({0, 1} if stream else {0})
    said = process.log.read_text()
    assert "Traceback" not in said
    assert "ERROR" not in said


def _asks_somebody(aside: psutil.Process | None) -> bool:
    """Whether an aside, which runs, has a connection open."""
    assert aside is not None
    return any(one.status == psutil.CONN_ESTABLISHED for one in aside.net_connections("tcp"))


@pytest.mark.slow
def test_stopping_the_web_process_ends_a_stream_and_the_aside(
    database_url: str, tmp_path: Path, model: ScriptedModel
) -> None:
    never = threading.Event()
    model.say(Reply.text("one two").paced(never))
    with serving(model.app) as url:
        settings = {"LLM_BASE_URL": url, "LLM_API_KEY": KEY, "LLM_MODEL": "scripted"}
        with web(database_url, tmp_path, **settings) as process, ThreadPoolExecutor(1) as caller:
            streaming = caller.submit(_read_out, process)
            wait_for(lambda: bool(model.requests), what="the chat to reach the model")
            aside = process.aside
            process.process.terminate()
            process.process.wait(15)
            streaming.result()
        wait_for(lambda: model.calls[0].ended_at is not None, what="the model's stream to end")

    assert aside is not None
    assert not aside.is_running()
    assert "Traceback" not in process.log.read_text()


def _read_out(process: Web) -> None:
    try:
        ask(process, stream=True)
    except httpx.HTTPError:
        return  # cut off, as it may be


@pytest.mark.slow
def test_an_aside_that_does_not_answer_is_seen_by_its_web_process_at_the_limit(
    process: Web, model: ScriptedModel
) -> None:
    ask(process)
    aside = process.aside
    assert aside is not None

    aside.suspend()
    try:
        with pytest.raises(httpx.ReadTimeout):
            process.client.post("/api/llm/chat", json=ASKED, timeout=1)
        healthy = process.client.get("/health", timeout=5).status_code
    finally:
        aside.resume()

    assert healthy == 200
    assert ask(process).status_code == 200
