"""The scripted model speaks OpenAI's protocol and refuses what a real server refuses."""

import base64
import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from aether.demo.model import (
    ABSENT,
    ChatRequest,
    Reply,
    ScriptedModel,
    ToolCallScript,
    by_turn,
)
from tests.demo.conftest import KEY

USER = {"role": "user", "content": "Please look at issue 7."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_issue",
        "description": "Read the issue.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def request(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": list(messages or (USER,)), **more}


def asked(*ids: str, name: str = "get_issue", arguments: Any = "{}") -> dict[str, Any]:
    calls = [
        {"id": one, "type": "function", "function": {"name": name, "arguments": arguments}}
        for one in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answered(call_id: str, content: str = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def chat(openai: httpx.Client, *messages: dict[str, Any], **more: Any) -> httpx.Response:
    return openai.post("/chat/completions", json=request(*messages, **more))


def message_of(response: httpx.Response) -> dict[str, Any]:
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_text_comes_in_openais_form_with_counted_usage(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(Reply.text("two words"))

    answer = chat(openai)

    told = answer.json()
    assert (answer.status_code, told["object"], told["model"]) == (
        200,
        "chat.completion",
        "scripted",
    )
    assert told["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "two words",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = told["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (5, 2, 7)
    assert model.requests == [request()]
    assert model.problems == []


def test_usage_can_be_set(model: ScriptedModel, openai: httpx.Client) -> None:
    model.say(Reply.text("x").using(100, 20, cached=60))

    usage = chat(openai).json()["usage"]

    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (100, 20)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 60


@pytest.mark.parametrize(
    ("script", "sent"),
    [
        (ToolCallScript("add_labels", {"labels": ["bug"]}), '{"labels": ["bug"]}'),
        (ToolCallScript("add_labels"), "{}"),
        (ToolCallScript("add_labels", ""), ""),
        (ToolCallScript("add_labels", '{"issue": 7, "body": "hi'), '{"issue": 7, "body": "hi'),
        (ToolCallScript("add_labels", None), None),
        (ToolCallScript("add_labels", ABSENT), "absent"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_sent_as_scripted_broken_ones_too(
    model: ScriptedModel, openai: httpx.Client, script: ToolCallScript, sent: object, stream: bool
) -> None:
    model.say(Reply.calls(script))

    answer = chat(openai, stream=stream)

    if stream:
        chunks = chunks_of(answer)
        parts = [
            part for one in chunks for part in one["choices"][0]["delta"].get("tool_calls", ())
        ]
        given = [part["function"].get("arguments", "absent") for part in parts]
        arguments = "".join(given) if isinstance(sent, str) else given[0]
        first, finish = parts[0], chunks[-1]["choices"][0]["finish_reason"]
    else:
        [first] = message_of(answer)["tool_calls"]
        arguments = first["function"].get("arguments", "absent")
        finish = answer.json()["choices"][0]["finish_reason"]
    assert arguments == sent
    assert (first["type"], first["function"]["name"]) == ("function", "add_labels")
    assert first["id"].startswith("call_")
    assert finish == "tool_calls"


def test_ids_of_tool_calls_differ_within_and_between_turns(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(Reply.calls(ToolCallScript("a"), ToolCallScript("a"), ToolCallScript("b", id="c1")))

    first = message_of(chat(openai))
    replies = [answered(call["id"]) for call in first["tool_calls"]]
    second = message_of(chat(openai, USER, first, *replies))

    ids = [call["id"] for call in [*first["tool_calls"], *second["tool_calls"]]]
    assert ids[2] == ids[5] == "c1"
    assert len(set(ids)) == 5


def test_a_stream_has_deltas_a_finish_and_the_usage_only_if_asked(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(Reply.text("one two\n\nthree"))

    with_usage = chunks_of(chat(openai, stream=True, stream_options={"include_usage": True}))
    without = chunks_of(chat(openai, stream=True))

    deltas = [chunk["choices"][0]["delta"].get("content") for chunk in with_usage[:-1]]
    assert deltas == ["", "one ", "two\n\n", "three", None]
    assert with_usage[0]["object"] == "chat.completion.chunk"
    assert with_usage[-2]["choices"][0]["finish_reason"] == "stop"
    assert with_usage[-2]["usage"] is None
    assert with_usage[-1]["choices"] == []
    assert with_usage[-1]["usage"]["total_tokens"] == 8
    assert len({chunk["id"] for chunk in with_usage}) == 1
    assert len(without) == len(with_usage) - 1
    assert "usage" not in without[-1]


def test_errors_carry_status_headers_and_openais_body(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(
        [
            Reply.error(429, retry_after=2),
            Reply.error(500, message="boom"),
            Reply.error(404, body="<html>GET /v1?key=secret</html>"),
            Reply.context_too_long(8000, 9000),
            Reply.raw({"object": "chat.completion"}),
        ]
    )

    answers = [chat(openai) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [429, 500, 404, 400, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert answers[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert answers[1].json()["error"] == {
        "message": "boom",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert answers[2].text == "<html>GET /v1?key=secret</html>"
    assert answers[3].json()["error"]["code"] == "context_length_exceeded"
    assert answers[4].json() == {"object": "chat.completion"}


def test_a_list_that_is_used_up_refuses_for_good(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say([Reply.text("only one")])
    chat(openai)

    answer = chat(openai)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "script_ended")
    assert model.problems == ["the script has 1 replies, all given"]


def test_a_reset_connection_is_one(model: ScriptedModel, openai: httpx.Client) -> None:
    model.say([Reply.reset(), Reply.text("back")])

    with pytest.raises(httpx.ReadError):
        chat(openai)

    assert message_of(chat(openai))["content"] == "back"


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_answer_ends_in_the_middle(
    model: ScriptedModel, openai: httpx.Client, stream: bool
) -> None:
    model.say(Reply.cut("one two three four", after_chunks=3))

    received: list[bytes] = []
    sent = request(stream=stream)

    def read() -> None:
        with openai.stream("POST", "/chat/completions", json=sent) as answer:
            assert answer.status_code == 200
            received.extend(answer.iter_raw())

    with pytest.raises(httpx.RemoteProtocolError):
        read()
    if stream:
        text = b"".join(received)
        assert text.count(b"data: ") == 3
        assert b"two" in text
        assert b"three" not in text


def test_a_stream_may_break_end_early_or_not_be_one(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(
        [
            Reply.breaking("one two three", after_chunks=2, message="No more."),
            Reply.unfinished("one two three", after_chunks=3),
            Reply.text("one two").without_usage(),
            Reply.text("one two").unstreamed(),
            Reply.streaming({"content": "on"}, {"content": "e"}),
        ]
    )
    sent = {"stream": True, "stream_options": {"include_usage": True}}

    answers = [chat(openai, **sent) for _ in range(5)]

    told = [
        [line.removeprefix("data: ") for line in one.text.splitlines() if line] for one in answers
    ]
    assert [len(lines) for lines in told] == [3, 3, 5, 1, 5]
    assert json.loads(told[0][-1])["error"]["message"] == "No more."
    assert [lines[-1] == "[DONE]" for lines in told] == [False, False, True, False, True]
    assert '"usage"' not in answers[2].text
    assert answers[3].json()["choices"][0]["message"]["content"] == "one two"
    texts = [json.loads(line)["choices"][0]["delta"].get("content") for line in told[4][:2]]
    assert texts == ["on", "e"]


def test_a_paced_stream_ends_when_its_client_leaves(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(Reply.text("one two").paced(threading.Event()))

    with openai.stream("POST", "/chat/completions", json=request(stream=True)) as answer:
        first = next(answer.iter_raw())
    deadline = time.monotonic() + 10
    while model.calls[0].ended_at is None and time.monotonic() < deadline:
        time.sleep(0.005)

    assert first.startswith(b"data: ")
    assert model.calls[0].ended_at is not None


def test_a_stream_goes_on_by_a_chunk_each_time_its_semaphore_is_released(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    words = threading.Semaphore(0)
    model.say(Reply.text("one two three").paced(words))
    heard: list[str | None] = []

    with openai.stream("POST", "/chat/completions", json=request(stream=True)) as answer:
        lines = (line for line in answer.iter_lines() if line)
        for _ in range(3):
            told = json.loads(next(lines).removeprefix("data: "))
            heard.append(told["choices"][0]["delta"].get("content"))
            assert not words.acquire(blocking=False)
            words.release()

    assert heard == ["", "one ", "two "]


def test_a_reply_waits_for_its_event_or_its_seconds(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    gate = threading.Event()
    model.say([Reply.text("now").after(gate), Reply.text("later").after(0.05)])

    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(chat, openai)
        deadline = time.monotonic() + 5
        while not model.requests:
            assert time.monotonic() < deadline
        assert not waiting.done()
        gate.set()
        assert message_of(waiting.result(5))["content"] == "now"

    before = time.monotonic()
    assert message_of(chat(openai))["content"] == "later"
    assert time.monotonic() - before >= 0.05


def test_by_turn_keeps_conversations_apart_that_run_at_once(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    def second(request: ChatRequest) -> Reply:
        return Reply.text(f"{request.user}: {request.tool_results[-1]}")

    model.say(by_turn([Reply.calls(ToolCallScript("get_issue")), second]))

    def converse(number: int) -> str:
        user = {"role": "user", "content": f"issue {number}"}
        first = message_of(chat(openai, user))
        reply = answered(first["tool_calls"][0]["id"], f"text of {number}")
        return str(message_of(chat(openai, user, first, reply))["content"])

    with ThreadPoolExecutor(8) as callers:
        told = list(callers.map(converse, range(24)))

    assert told == [f"issue {number}: text of {number}" for number in range(24)]


def test_a_turn_may_fail_first_and_answer_the_next_try(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.say(by_turn([[Reply.error(500), Reply.error(429), Reply.text("ok")]]))

    mine = [chat(openai).status_code for _ in range(4)]
    other = chat(openai, {"role": "user", "content": "another conversation"}).status_code

    assert mine == [500, 429, 200, 200]
    assert other == 500


def test_scripts_go_by_the_first_condition_that_holds(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.when("Leo", Reply.text("leo")).when(
        lambda one: "secret" in one.user, Reply.text("judged")
    )

    def to(system: str, user: str = "hi") -> str:
        messages = {"role": "system", "content": system}, {"role": "user", "content": user}
        return str(message_of(chat(openai, *messages))["content"])

    assert to("You are Leo, an analyst.") == "leo"
    assert to("You are Leonora.") == "Understood."
    assert to("You are Leo.", "secret") == "leo"
    assert to("You are Sam.", "secret") == "judged"


def test_the_key_is_asked_for(model: ScriptedModel, model_url: str) -> None:
    url = f"{model_url}/chat/completions"

    none = httpx.post(url, json=request())
    wrong = httpx.post(url, json=request(), headers={"Authorization": "Bearer sk-wrong-key-9999"})

    assert none.status_code == wrong.status_code == 401
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "sk-wrong-key-9999" not in wrong.text
    assert model.requests == []


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([USER, asked("c1")], "did not have response messages: c1"),
        ([USER, asked("c1", "c2"), answered("c1"), USER], "messages: c2"),
        ([USER, asked("c1"), USER, answered("c1")], "messages: c1"),
        ([USER, answered("c1")], "must be a response to a preceding message"),
        ([USER, asked("c1"), answered("c2")], "must be a response to a preceding message"),
        ([USER, asked("c1"), answered("c1"), answered("c1")], "Duplicate value"),
        ([USER, asked("c1", "c1"), answered("c1")], "Duplicate value"),
        ([USER, asked("c1", name="functions.get"), answered("c1")], "does not match pattern"),
        ([USER, asked("c1", name=""), answered("c1")], "does not match pattern"),
        ([USER, asked("c1", arguments=None), answered("c1")], "expected a string"),
        ([USER, asked("c1", arguments={}), answered("c1")], "expected a string"),
        ([USER, asked(""), answered("")], ".id"),
        ([{"role": "robot", "content": "hi"}], "Invalid value: 'robot'"),
        ([{"role": "user", "content": None}], "got null"),
        ([{"role": "user", "content": ""}], "must not be blank"),
        ([{"role": "system", "content": " \n"}, USER], "must not be blank"),
        ([{"role": "user", "content": 7}], "expected a string or an array"),
        ([USER, {"role": "assistant", "content": None}, USER], "got null"),
        ([USER, {"role": "assistant", "content": "", "tool_calls": []}, USER], "empty array"),
        ([USER, asked("c1"), {"role": "tool", "content": "x"}], "tool_call_id"),
        (
            [{**asked("c1"), "role": "user"}, answered("c1")],
            "only allowed for messages of the assis",
        ),
        (["hi"], "expected an object"),
    ],
)
def test_an_invalid_history_is_400_and_reaches_no_script(
    model: ScriptedModel, openai: httpx.Client, messages: list[Any], words: str
) -> None:
    reached: list[ChatRequest] = []

    def script(request: ChatRequest) -> Reply:
        reached.append(request)
        return Reply.text("x")

    model.say(script)

    answer = openai.post("/chat/completions", json={"model": "scripted", "messages": messages})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert words in answer.json()["error"]["message"]
    assert reached == []
    assert len(model.problems) == 1


def named(name: str, **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"messages": []}, "empty array"),
        ({"messages": None}, "Missing required parameter: 'messages'"),
        ({"messages": "hi"}, "expected an array"),
        ({"tools": []}, "empty array"),
        ({"tools": [named("a b")]}, "does not match pattern"),
        ({"tools": [named("x" * 65)]}, "does not match pattern"),
        ({"tools": [TOOL, TOOL]}, "must be unique"),
        ({"tools": [named(f"t{number}") for number in range(129)]}, "array too long"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [named("a", description="x" * 1025)]}, "string too long"),
        ({"tools": [named("a", parameters={})]}, "got 'type: \"None\"'"),
        (
            {
                "tools": [
                    named(
                        "a", parameters={"type": "object", "properties": {"l": {"type": "array"}}}
                    )
                ]
            },
            "array schema missing items",
        ),
        ({"tools": [named("a", parameters={"type": "object", "required": ["b"]})]}, "'b'"),
        ({"tools": [TOOL], "tool_choice": "get_issue"}, "tool_choice"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
        ({"parallel_tool_calls": False}, "only allowed when 'tools'"),
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "at the same time"),
        ({"thinking": True}, "Unrecognized request argument supplied: thinking"),
    ],
)
def test_an_invalid_request_is_400(openai: httpx.Client, more: dict[str, Any], words: str) -> None:
    answer = openai.post("/chat/completions", json=request() | more)

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_valid_history_with_tools_is_taken(openai: httpx.Client) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "And in parts?"}]}
    history = [USER, asked("c1", "c2"), answered("c2", ""), answered("c1"), parts]
    choice = {"type": "function", "function": {"name": "get_issue"}}

    answer = chat(openai, *history, tools=[TOOL], tool_choice=choice, temperature=0, max_tokens=10)

    assert answer.status_code == 200


def test_unknown_models_paths_and_bodies_are_refused(openai: httpx.Client) -> None:
    model = openai.post("/chat/completions", json=request() | {"model": "gpt-9"})
    path = openai.post("/completions", json=request())
    body = openai.post("/chat/completions", content=b"[1]")

    assert (model.status_code, model.json()["error"]["code"]) == (404, "model_not_found")
    assert (path.status_code, path.json()["error"]["message"]) == (
        404,
        "Invalid URL (POST /v1/completions)",
    )
    assert body.status_code == 400


def test_a_prompt_beyond_the_window_is_refused_by_words_or_by_characters(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.context_tokens = 1000

    fits = chat(openai, {"role": "user", "content": "word " * 700})
    words = chat(openai, {"role": "user", "content": "a " * 1001})
    characters = chat(openai, {"role": "user", "content": "x" * 5000})

    assert [one.status_code for one in (fits, words, characters)] == [200, 400, 400]
    assert words.json()["error"]["code"] == "context_length_exceeded"
    assert "resulted in 1250 tokens" in characters.json()["error"]["message"]


def test_models_are_listed_and_looked_up(openai: httpx.Client) -> None:
    names = [one["id"] for one in openai.get("/models").json()["data"]]

    assert names == ["scripted", "scripted-embedding"]
    assert openai.get("/models/scripted").json()["object"] == "model"
    assert openai.get("/models/other").status_code == 404


def test_embeddings_are_the_same_each_time_and_near_for_texts_that_share_words(
    openai: httpx.Client,
) -> None:
    texts = ["login fails for admins", "the login fails", "export to pdf"]
    sent = {"model": "scripted-embedding", "input": texts}

    first, again = openai.post("/embeddings", json=sent), openai.post("/embeddings", json=sent)

    vectors = [one["embedding"] for one in first.json()["data"]]

    def similarity(one: int, other: int) -> float:
        return float(sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True)))

    assert first.json() == again.json()
    assert [len(vector) for vector in vectors] == [256] * 3
    assert similarity(0, 0) == pytest.approx(1)
    assert similarity(0, 1) > 0.5 > similarity(0, 2)
    assert first.json()["usage"] == {"prompt_tokens": 10, "total_tokens": 10}


def test_embeddings_come_as_base64_and_in_other_sizes_too(openai: httpx.Client) -> None:
    sent = {"model": "scripted-embedding", "input": "login", "dimensions": 8}

    plain = openai.post("/embeddings", json=sent).json()["data"][0]["embedding"]
    packed = openai.post("/embeddings", json=sent | {"encoding_format": "base64"}).json()

    unpacked = struct.unpack("<8f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(plain)


@pytest.mark.parametrize("given", ["", [], ["a", ""], None, [1]])
def test_an_empty_embedding_input_is_400(openai: httpx.Client, given: object) -> None:
    answer = openai.post("/embeddings", json={"model": "scripted-embedding", "input": given})

    assert answer.status_code == 400


def test_faults_of_the_connection_can_be_arranged_for_the_model_as_well(
    model: ScriptedModel, openai: httpx.Client
) -> None:
    model.faults.fail_next("POST", "/embeddings", status=503)

    answer = openai.post("/embeddings", json={"model": "scripted-embedding", "input": "x"})

    assert (answer.status_code, model.calls[0].status) == (503, 503)
    assert model.calls[0].token == KEY[-4:]


def test_a_script_without_turns_is_a_mistake_told_at_once() -> None:
    with pytest.raises(ValueError, match="turns"):
        by_turn([])
