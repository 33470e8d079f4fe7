"""The client of MCP servers, against servers of the SDK's own and against some that misbehave."""

import asyncio
import gzip
import json
import logging
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from starlette.types import ASGIApp

from aether.demo.serving import serving
from aether.errors import UpstreamError
from aether.reach import Reach
from aether.tools import mcp
from aether.tools.mcp import McpEndpoint, ToolFailedError, call_tool, list_tools
from aether.tools.mcp_results import result_text
from aether.tools.mcp_wire import load
from aether.vocabulary import McpTransport
from tests.mcp.toolbox import (
    LOOPBACK,
    OPEN,
    READS,
    SSE,
    STREAMABLE,
    Toolbox,
    answer,
    dripping,
    dying,
    silent,
)

BOTH = pytest.mark.parametrize("transport", [STREAMABLE, SSE])
SECRET = "a-key-of-the-tests-0001"


def endpoint(url: str, transport: McpTransport = STREAMABLE, **headers: str) -> McpEndpoint:
    return McpEndpoint(name="Tries", url=url, transport=transport, headers=headers)


async def failed(at: McpEndpoint, reach: Reach = LOOPBACK) -> UpstreamError:
    """How asking for the tools fails."""
    with pytest.raises(UpstreamError) as raised:
        await list_tools(at, reach)
    return raised.value


@BOTH
async def test_the_tools_are_listed_and_one_is_called(transport: McpTransport) -> None:
    box = Toolbox()
    box.put_search()
    box.put_publish()
    with box.served(transport):
        told = await list_tools(box.endpoint(transport), LOOPBACK)
        text = await call_tool(box.endpoint(transport), LOOPBACK, "search", {"query": "ä b"})

    assert told.url == box.url + {STREAMABLE: "/mcp", SSE: "/sse"}[transport]
    assert [one["name"] for one in told.tools] == ["search", "publish"]
    assert told.tools[0]["annotations"]["readOnlyHint"] is True
    assert told.tools[0]["inputSchema"]["required"] == ["query"]
    assert text == "found: ä b"
    assert box.called == [("search", {"query": "ä b"})]


async def test_a_server_at_the_root_of_its_host_is_found_and_one_with_a_path_is_asked_there() -> (
    None
):
    box = Toolbox()
    box.put_search()
    with box.served(streamable_http_path="/"):
        told = await list_tools(box.endpoint(), LOOPBACK)
    box_at_root = box.url
    root = [path for _, path, _ in box.asked]
    box = Toolbox()
    box.put_search()
    with box.served(streamable_http_path="/v1/mcp"):
        with_path = await list_tools(endpoint(f"{box.url}/v1/mcp"), LOOPBACK)

    assert told.url == box_at_root
    assert root[0] == "/mcp"
    assert root[-1] == "/"
    assert {path for _, path, _ in box.asked} == {"/v1/mcp"}
    assert [one["name"] for one in with_path.tools] == ["search"]


@BOTH
async def test_headers_are_sent_with_every_request(transport: McpTransport) -> None:
    box = Toolbox(required={"X-Api-Key": SECRET})
    box.put_search()
    with box.served(transport):
        await call_tool(
            box.endpoint(transport, **{"X-Api-Key": SECRET}), LOOPBACK, "search", {"query": "a"}
        )

    assert len(box.called) == 1
    assert {headers.get("x-api-key") for _, _, headers in box.asked} == {SECRET}
    assert {headers["accept-encoding"] for _, _, headers in box.asked} == {"identity"}


@BOTH
async def test_a_wrong_key_is_told_as_such_and_not_shown(transport: McpTransport) -> None:
    box = Toolbox(required={"X-Api-Key": "another"})
    with box.served(transport):
        error = await failed(box.endpoint(transport, **{"X-Api-Key": SECRET}))

    assert str(error) == 'MCP server "Tries": refuses us (401); see its headers'
    assert (error.status, error.retryable, error.may_have_happened) == (401, False, False)


@BOTH
async def test_what_a_tool_says_of_its_failure_is_told(transport: McpTransport) -> None:
    box = Toolbox()
    box.put_search()

    def boom() -> str:
        raise RuntimeError("inside")

    box.put("boom", boom)
    with box.served(transport):
        texts = []
        tried: list[tuple[str, dict[str, Any]]] = [
            ("search", {"query": []}),
            ("boom", {}),
            ("nothing", {}),
        ]
        for name, arguments in tried:
            with pytest.raises(ToolFailedError) as raised:
                await call_tool(box.endpoint(transport), LOOPBACK, name, arguments)
            texts.append(str(raised.value))

    assert "query" in texts[0]
    assert "boom" in texts[1]
    assert texts[2] == "Unknown tool: nothing"
    assert box.called == []


@BOTH
async def test_a_secret_that_the_server_says_again_is_taken_out(transport: McpTransport) -> None:
    box = Toolbox()

    def echo(*, fail: bool) -> str:
        if fail:
            raise ValueError(f"no: {SECRET}")
        return f"you sent Bearer {SECRET}"

    box.put("echo", echo)
    at = {"Authorization": f"Bearer {SECRET}"}
    with box.served(transport):
        text = await call_tool(box.endpoint(transport, **at), LOOPBACK, "echo", {"fail": False})
        with pytest.raises(ToolFailedError) as raised:
            await call_tool(box.endpoint(transport, **at), LOOPBACK, "echo", {"fail": True})

    assert text == "you sent ***"
    assert SECRET not in str(raised.value)
    assert SECRET not in repr(box.endpoint(transport, **at))


@BOTH
async def test_a_server_that_says_nothing_is_left_in_time(
    transport: McpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "HANDSHAKE_SECONDS", 0.5)
    with serving(silent) as url:
        error = await failed(endpoint(f"{url}/x", transport))

    assert str(error) == 'MCP server "Tries": no greeting within 0.5 s'
    assert (error.retryable, error.may_have_happened) == (True, False)


@BOTH
async def test_keep_alives_alone_do_not_keep_a_call_alive(
    transport: McpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "HANDSHAKE_SECONDS", 0.5)
    with serving(dripping) as url:
        error = await failed(endpoint(f"{url}/x", transport))

    assert str(error) == 'MCP server "Tries": no greeting within 0.5 s'


@BOTH
async def test_a_call_that_hangs_ends_and_may_have_happened(
    transport: McpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "CALL_SECONDS", 0.5)
    box = Toolbox()
    started = []

    async def hang() -> str:
        started.append(True)
        await asyncio.Event().wait()
        return "never"

    box.put("hang", hang)
    with box.served(transport), pytest.raises(UpstreamError) as raised:
        await call_tool(box.endpoint(transport), LOOPBACK, "hang", {})

    assert started == [True]
    assert str(raised.value) == 'MCP server "Tries": no answer within 0.5 s'
    assert raised.value.may_have_happened


@pytest.mark.slow
@BOTH
async def test_an_answer_of_30_mb_is_not_read(transport: McpTransport) -> None:
    box = Toolbox()
    box.put("big", lambda: "x" * 30_000_000)
    with box.served(transport), pytest.raises(UpstreamError) as raised:
        await call_tool(box.endpoint(transport), LOOPBACK, "big", {})

    assert "is over 5 MB" in str(raised.value) or "over 1 MB" in str(raised.value)
    assert raised.value.may_have_happened


async def test_a_plain_json_answer_of_30_mb_is_not_read_either() -> None:
    box = Toolbox()
    box.put("big", lambda: "x" * 30_000_000)
    with (
        box.served(json_response=True, stateless_http=True),
        pytest.raises(UpstreamError, match="its answer is over 5 MB"),
    ):
        await call_tool(box.endpoint(), LOOPBACK, "big", {})


@BOTH
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_packed_answer_is_refused_before_it_is_unpacked(
    transport: McpTransport, kind: str
) -> None:
    bomb = gzip.compress(gzip.compress(b'"' + b"a" * 64_000_000 + b'"', 9), 9)
    packed = answer(200, bomb, {"content-encoding": "gzip, gzip", "content-type": kind})
    with serving(packed) as url:
        await asyncio.to_thread(load)
        tracemalloc.start()
        try:
            error = await failed(endpoint(f"{url}/mcp", transport))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert str(error) == 'MCP server "Tries": packs its answer, though nobody asked it to'
    assert (error.retryable, most < 30_000_000) == (False, True)


@BOTH
async def test_a_server_that_breaks_off_in_a_call_may_have_done_it(
    transport: McpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "CALL_SECONDS", 5)
    box = Toolbox()
    box.put_publish()
    app = (
        box.server.sse_app(transport_security=OPEN)
        if transport is SSE
        else box.server.streamable_http_app(transport_security=OPEN)
    )
    with serving(dying(app)) as url, pytest.raises(UpstreamError) as raised:
        await call_tool(endpoint(url, transport), LOOPBACK, "publish", {"text": "a"})

    assert str(raised.value).startswith('MCP server "Tries": the connection broke (')
    assert (raised.value.retryable, raised.value.may_have_happened) == (True, True)
    assert box.called == []


@BOTH
async def test_a_server_that_was_away_is_called_again_once_it_is_back(
    transport: McpTransport,
) -> None:
    box = Toolbox()
    box.put_search()
    with box.served(transport):
        at = box.endpoint(transport)
        port = int(box.url.rpartition(":")[2])
        before = await call_tool(at, LOOPBACK, "search", {"query": "1"})
    away = await failed(at)
    box = Toolbox()
    box.put_search()
    app = (
        box.server.sse_app(transport_security=OPEN)
        if transport is SSE
        else box.server.streamable_http_app(transport_security=OPEN)
    )
    with serving(app, port=port):
        after = await call_tool(at, LOOPBACK, "search", {"query": "2"})

    assert (before, after) == ("found: 1", "found: 2")
    assert str(away).startswith('MCP server "Tries": cannot be reached (')
    assert (away.retryable, away.may_have_happened) == (True, False)


@pytest.mark.parametrize(
    ("app", "text", "status", "retryable"),
    [
        (answer(500, b"sk-secret"), "answered 500", 500, True),
        (answer(404, b"no"), "answered 404", 404, False),
        (answer(403, b"no"), "refuses us (403); see its headers", 403, False),
        (answer(429, b"no"), "answered 429", 429, True),
        (answer(302, b"", {"location": "http://169.254.169.254/latest"}),
         "leads to another address, which is not followed", 302, False),
        (answer(307, b"", {"location": "http://169.254.169.254/latest"}),
         "leads to another address, which is not followed", 307, False),
        (answer(200, b"<html>", {"content-type": "text/html"}),
         "says: Unexpected content type: text/html", None, True),
        (answer(200, b"{", {"content-type": "application/json"}), None, None, True),
        (answer(200, b"x", {"content-encoding": "gzip"}),
         "packs its answer, though nobody asked it to", None, False),
    ],
)  # fmt: skip
async def test_what_is_no_mcp_server_is_told_in_words(
    app: ASGIApp, text: str | None, status: int | None, retryable: bool
) -> None:
    with serving(app) as url:
        error = await failed(endpoint(f"{url}/mcp"))

    assert str(error).startswith('MCP server "Tries": ')
    assert text is None or str(error) == f'MCP server "Tries": {text}'
    assert (error.status, error.retryable, error.may_have_happened) == (status, retryable, False)
    assert "sk-secret" not in str(error)


async def test_an_sse_server_that_names_another_host_for_messages_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp, "HANDSHAKE_SECONDS", 0.5)
    event = b"event: endpoint\ndata: http://169.254.169.254/messages\n\n"
    with serving(answer(200, event, {"content-type": "text/event-stream"})) as url:
        error = await failed(endpoint(f"{url}/sse", SSE))

    assert str(error).startswith('MCP server "Tries": ')


async def test_nothing_is_sent_to_an_address_out_of_reach() -> None:
    box = Toolbox()
    with box.served():
        errors = [
            await failed(box.endpoint(), Reach()),
            await failed(endpoint(box.url.replace("127.0.0.1", "localhost")), Reach()),
        ]

    assert [str(one) for one in errors] == [
        f'MCP server "Tries": {host} leads to an inner address; OUTBOUND_ALLOW can allow it'
        for host in ("127.0.0.1", "localhost")
    ]
    assert [one.retryable for one in errors] == [False, False]
    assert box.asked == []


async def test_a_server_is_reached_by_a_name_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def inside(host: str, port: int) -> list[str]:
        assert host == "mcp-server"
        return ["127.0.0.1"]

    monkeypatch.setattr("aether.reach.resolve", inside)
    box = Toolbox()
    box.put_search()
    with box.served():
        at = endpoint(box.url.replace("127.0.0.1", "mcp-server"))
        refused = await failed(at, Reach())
        text = await call_tool(at, Reach(("mcp-server",)), "search", {"query": "a"})

    assert text == "found: a"
    assert "mcp-server leads to an inner address" in str(refused)
    assert {headers["host"].partition(":")[0] for _, _, headers in box.asked} == {"mcp-server"}


async def test_a_name_that_leads_inside_at_a_second_look_is_looked_up_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[list[str]] = [["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]]
    connected: list[str] = []

    async def rebinding(_host: str, _port: int) -> list[str]:
        return answers.pop(0)

    async def connect(_self: Any, *, host: str, **_: Any) -> Any:
        connected.append(host)
        raise OSError("not from here")

    monkeypatch.setattr("aether.reach.resolve", rebinding)
    monkeypatch.setattr("httpcore2.AnyIOBackend.connect_tcp", connect)
    box = Toolbox()
    with box.served():
        at = endpoint(box.url.replace("127.0.0.1", "rebind.example") + "/mcp")
        first, second = await failed(at, Reach()), await failed(at, Reach())

    assert connected == ["93.184.215.14"]
    assert "OUTBOUND_ALLOW" not in str(first)
    assert "rebind.example leads to an inner address" in str(second)
    assert box.asked == []


async def test_ten_calls_at_once_each_have_a_client_of_their_own() -> None:
    box = Toolbox()
    box.put_search()
    with box.served():
        texts = await asyncio.gather(
            *(
                call_tool(box.endpoint(), LOOPBACK, "search", {"query": str(number)})
                for number in range(10)
            )
        )

    assert texts == [f"found: {number}" for number in range(10)]


async def test_a_call_that_is_cancelled_leaves_nothing_running() -> None:
    box = Toolbox()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hang() -> str:
        loop.call_soon_threadsafe(started.set)
        await asyncio.Event().wait()
        return "never"

    box.put("hang", hang)
    with box.served():
        before = asyncio.all_tasks()
        calling = asyncio.create_task(call_tool(box.endpoint(), LOOPBACK, "hang", {}))
        async with asyncio.timeout(20):
            await started.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        left = asyncio.all_tasks() - before

    assert left == set()


async def test_a_list_of_many_pages_is_read_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "MOST_TOOLS", 3)
    box = Toolbox()
    for number in range(5):
        box.put(f"tool_{number}", lambda: "x")
    with box.served():
        told = await list_tools(box.endpoint(), LOOPBACK)

    assert [one["name"] for one in told.tools] == ["tool_0", "tool_1", "tool_2"]


async def test_the_sdk_logs_nothing_of_what_a_server_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(answer(200, b'{"sk-secret":', {"content-type": "application/json"})) as url:
        await failed(endpoint(f"{url}/mcp"))

    assert "sk-secret" not in caplog.text


def text(*content: Any, structured: Any = None) -> str:
    return result_text(CallToolResult(content=list(content), structured_content=structured))


def said(words: str) -> TextContent:
    return TextContent(type="text", text=words)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (lambda: text(said("a"), said("b")), "a\n\nb"),
        (text, ""),
        (lambda: text(ImageContent(type="image", data="AAAA" * 100, mime_type="image/png")),
         '[image, "image/png", 300 bytes: not shown]'),
        (lambda: text(AudioContent(type="audio", data="AAAA", mime_type="audio/wav")),
         '[audio, "audio/wav", 3 bytes: not shown]'),
        (lambda: text(ResourceLink(type="resource_link", name="n", uri="file:///a")),
         '[link to the resource "n" at "file:///a"]'),
        (lambda: text(EmbeddedResource(type="resource", resource=TextResourceContents(
            uri="file:///a", text="in it"))), '[resource "file:///a"]\nin it'),
        (lambda: text(EmbeddedResource(type="resource", resource=BlobResourceContents(
            uri="file:///a", blob="AAAA"))), '[resource "file:///a", 3 bytes: not shown]'),
        (lambda: text(said("two"), structured={"n": 2}), 'two\n\n{"n": 2}'),
        (lambda: text(said('{"n": 2}'), structured={"n": 2}), '{"n": 2}'),
        (lambda: text(said("found"), structured={"result": "found"}), "found"),
        (lambda: text(said("1"), said("2"), structured={"result": [1, 2]}), "1\n\n2"),
        (lambda: text(structured=[1]), "[1]"),
        (lambda: text(*(said("x") for _ in range(201))), "x\n\n" * 200
         + "[1 more blocks are left out]"),
        (lambda: text(said("a\x00b\ud800")), "ab\ufffd"),
    ],
)  # fmt: skip
def test_a_result_is_text_and_a_note_of_what_is_none(
    shown: Callable[[], str], expected: str
) -> None:
    assert shown() == expected


def test_a_long_result_is_cut() -> None:
    assert len(text(said("x" * 300_000))) < 200_100


async def test_structured_content_reaches_the_model_once() -> None:
    box = Toolbox()

    def measure() -> dict[str, int]:
        return {"width": 3}

    box.put("measure", measure, annotations=READS)
    with box.served():
        told = await call_tool(box.endpoint(), LOOPBACK, "measure", {})

    assert json.loads(told) == {"width": 3}
