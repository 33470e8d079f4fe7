"""The client against servers that do what the SDK's own would not: lose, delay, ask, lead away."""

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from aether.demo.serving import serving
from aether.errors import UpstreamError
from aether.tools import mcp
from aether.tools.mcp import ToolFailedError, call_tool, list_tools
from aether.tools.mcp_endpoint import EndpointEvent, leads_away
from aether.tools.mcp_text import Mender
from tests.mcp.test_client import endpoint
from tests.mcp.toolbox import (
    JSON,
    LOOPBACK,
    SSE,
    STREAMABLE,
    ByHand,
    Toolbox,
    answer,
    dying,
    error,
    lifespan,
    result,
)

KEY = "a-key-of-the-tests-0002"
TEXT = {"content": [{"type": "text", "text": "found"}]}


async def called(box: ByHand, **headers: str) -> str:
    return await call_tool(box.endpoint(**headers), LOOPBACK, "search", {"query": "a"})


async def refused(box: ByHand) -> UpstreamError:
    with pytest.raises(UpstreamError) as raised:
        await called(box)
    return raised.value


def in_turn(*said: Any) -> Callable[[Any], Any]:
    """Says one after the other, and the last one from then on."""
    left = list(said)

    def say(message: Any) -> Any:
        one = left.pop(0) if len(left) > 1 else left[0]
        return one(message) if callable(one) else one

    return say


def lost(message: Any) -> ASGIApp:
    return error(message, -32600, "Session not found", status=404)


async def test_a_session_that_the_server_has_lost_is_opened_anew() -> None:
    box = ByHand(tools_call=in_turn(lost, TEXT), tools_list=in_turn(lost, {"tools": []}))
    with box.served():
        text = await called(box)
        told = await list_tools(box.endpoint(), LOOPBACK)

    assert (text, told.tools) == ("found", [])
    assert len(box.called) == 2  # the first was refused, and not done
    once = ["server/discover", "initialize", "notifications/initialized"]
    assert box.asked == [*once, "tools/call"] * 2 + [*once, "tools/list"] * 2


async def test_a_server_that_loses_every_session_is_left_and_has_done_nothing() -> None:
    box = ByHand(tools_call=lost)
    with box.served():
        error = await refused(box)

    assert str(error) == 'MCP server "Tries": answered 404'
    assert (error.retryable, error.may_have_happened, len(box.called)) == (False, False, 2)


@pytest.mark.parametrize(("status", "may_have_happened"), [(429, False), (503, True)])
async def test_when_a_server_may_be_asked_again_is_told(
    status: int, *, may_have_happened: bool
) -> None:
    box = ByHand(tools_call=lambda _: answer(status, b"later", {"retry-after": "7"}))
    with box.served():
        error = await refused(box)

    assert str(error) == (f'MCP server "Tries": answered {status}; it may be asked again in 7 s')
    assert (error.retry_after, error.retryable) == (7, True)
    assert error.may_have_happened is may_have_happened


def streamed(*messages: Any) -> ASGIApp:
    """An application that answers with these events."""
    body = "".join(f"event: message\ndata: {json.dumps(one)}\n\n" for one in messages)
    return answer(200, body.encode(), {"content-type": "text/event-stream"})


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("sampling/createMessage",
         {"messages": [{"role": "user", "content": {"type": "text", "text": "a"}}],
          "maxTokens": 9}, -32600),
        ("elicitation/create",
         {"message": "password?", "requestedSchema": {"type": "object", "properties": {}}},
         -32600),
        ("roots/list", {}, -32600),
        ("no/such", {}, -32601),
        ("ping", {}, None),
    ],
)  # fmt: skip
async def test_what_a_server_asks_of_us_is_refused_and_the_call_goes_on(
    method: str, params: dict[str, Any], code: int | None
) -> None:
    asks = {"jsonrpc": "2.0", "id": "theirs", "method": method, "params": params}

    def ask(message: Any) -> ASGIApp:
        return streamed(asks, {"jsonrpc": "2.0", "id": message["id"], "result": TEXT})

    box = ByHand(tools_call=ask)
    with box.served():
        text = await called(box)

    assert text == "found"
    [said] = [one for one in box.heard if one.get("id") == "theirs"]
    assert said.get("error", {}).get("code") == code
    assert said.get("result") == (None if code else {})


async def test_a_tool_that_wants_to_ask_a_person_first_says_so_and_is_known_not_to_be_done() -> (
    None
):
    asked = {
        "resultType": "input_required",
        "inputRequests": {
            "one": {
                "method": "elicitation/create",
                "params": {
                    "message": f"Your\npassword for {KEY}?",
                    "requestedSchema": {"type": "object", "properties": {}},
                },
            }
        },
    }
    discovered = {
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {},
        "ttlMs": 0, "cacheScope": "public", "serverInfo": {"name": "x", "version": "1"},
    }  # fmt: skip
    box = ByHand(server_discover=discovered, tools_call=asked)
    with box.served(), pytest.raises(ToolFailedError) as raised:
        await called(box, **{"X-Key": KEY})

    assert str(raised.value) == (
        "the tool does nothing before it is given more, and nobody here can give it: "
        'elicitation/create "Your password for ***?"'
    )
    assert "initialize" not in box.asked


async def test_what_a_server_tells_beside_its_answer_changes_nothing() -> None:
    told: list[dict[str, Any]] = [
        {"method": "notifications/message", "params": {"level": "info", "data": "x" * 50}},
        {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}},
        {"method": "notifications/tools/list_changed"},
        {"method": "notifications/unheard/of", "params": {"a": 1}},
    ] * 20

    def flood(message: Any) -> ASGIApp:
        notices = [{"jsonrpc": "2.0"} | one for one in told]
        return streamed(*notices, {"jsonrpc": "2.0", "id": message["id"], "result": TEXT})

    box = ByHand(tools_call=flood)
    with box.served():
        assert await called(box) == "found"


async def test_a_list_in_many_pages_is_read_whole_and_an_endless_one_is_cut_and_said_to_be() -> (
    None
):
    def page(last: int) -> Callable[[Any], Any]:
        def told(message: Any) -> Any:
            number = int((message.get("params") or {}).get("cursor", 0))
            tools = [{"name": f"t{number}", "inputSchema": {"type": "object"}}]
            more = {"nextCursor": str(number + 1)} if number < last else {}
            return {"tools": tools, **more}

        return told

    box = ByHand(tools_list=page(59))
    with box.served():
        whole = await list_tools(box.endpoint(), LOOPBACK)
        box.says["tools/list"] = page(10**6)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mcp, "MOST_TOOLS", 30)
            cut = await list_tools(box.endpoint(), LOOPBACK)
        box.says["tools/list"] = {"tools": [], "nextCursor": "always the same"}
        round_and_round = await list_tools(box.endpoint(), LOOPBACK)

    assert ([one["name"] for one in whole.tools], whole.is_cut) == (
        [f"t{number}" for number in range(60)],
        False,
    )
    assert (len(cut.tools), cut.is_cut) == (30, True)
    assert (round_and_round.tools, round_and_round.is_cut) == ([], False)
    assert len(box.asked) < 120


SAID: list[tuple[Any, str]] = [
    ({"tools": [{"name": "a", "inputSchema": {"type": "object"}}, {"name": "b"}]},
     "sent what the protocol does not know, at tools.1.inputSchema"),
    ({"tools": [{"name": 5, "inputSchema": {"type": "object"}}]},
     "sent what the protocol does not know, at tools.0.name"),
    (lambda _: answer(200, b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 9_000, JSON),
     "sent what is no JSON, or nested too deeply"),
    (lambda _: answer(200, b'{"sk-secret": "\xff"', JSON),
     "sent what is no JSON, or nested too deeply"),
    (lambda message: error(message, -32601, "Method not found"), "says: Method not found"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "text"), SAID)
async def test_what_a_server_says_wrongly_is_told_by_its_place(said: Any, text: str) -> None:
    box = ByHand(tools_list=said)
    with box.served(), pytest.raises(UpstreamError) as raised:
        await list_tools(box.endpoint(), LOOPBACK)

    assert str(raised.value) == f'MCP server "Tries": {text}'


async def test_a_server_of_an_unknown_version_is_told_as_such() -> None:
    box = ByHand(
        initialize={"protocolVersion": "1999-01-01", "capabilities": {},
                    "serverInfo": {"name": "x", "version": "1"}}
    )  # fmt: skip
    with box.served():
        failed = await refused(box)

    assert str(failed) == (
        'MCP server "Tries": speaks no version of the protocol that is known here'
    )


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_half_a_character_spoils_no_answer(kind: str) -> None:
    def cut(message: Any) -> ASGIApp:
        text = r"half \ud83d, \\ud83d a path, \ud83d\ude00 whole"
        said = '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}'
        body = said % (json.dumps(message["id"]), text)
        event = f"event: message\ndata: {body}\n\n"
        told = event if kind == "text/event-stream" else body
        return answer(200, told.encode(), {"content-type": kind})

    box = ByHand(tools_call=cut)
    with box.served():
        assert await called(box) == "half \ufffd, \\ud83d a path, 😀 whole"


def test_half_a_character_is_mended_wherever_its_parts_come() -> None:
    said = (
        rb'{"a":"\ud83d\ude00 \ud83d \ude00\ud83d\u00e9 \\ud83d \\\ud83d \"\n","b":"\uD800\uD800"}'
    )
    whole = Mender()
    mended = whole.feed(said) + whole.end()

    assert json.loads(mended) == {
        "a": '😀 \ufffd \ufffd\ufffdé \\ud83d \\\ufffd "\n',
        "b": "\ufffd\ufffd",
    }
    for first in range(len(said)):
        for second in range(first, len(said), 5):
            parts = Mender()
            fed = [said[:first], said[first:second], said[second:]]
            assert b"".join([*map(parts.feed, fed), parts.end()]) == mended
    broken = Mender()
    assert broken.feed(rb"cut \ud8") + broken.end() == rb"cut \ud8"


class Elsewhere:
    """Another server, which ought to hear of nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked.append(scope["path"])
        await answer(200, b"{}", JSON)(scope, receive, send)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["initialize", "tools/call"])
async def test_no_redirect_takes_a_key_to_another_server(status: int, method: str) -> None:
    elsewhere = Elsewhere()
    with serving(elsewhere) as url:
        box = ByHand(
            **{method.replace("/", "_"): lambda _: answer(status, b"", {"location": f"{url}/x"})}
        )
        with box.served(), pytest.raises(UpstreamError) as raised:
            await called(box, **{"X-Key": KEY})

    assert str(raised.value) == (
        'MCP server "Tries": leads to another address, which is not followed'
    )
    assert not raised.value.may_have_happened
    assert elsewhere.asked == []


async def test_a_redirect_within_the_server_is_followed() -> None:
    box = ByHand(
        tools_call=in_turn(
            lambda _: answer(307, b"", {"location": "/elsewhere/on/it"}),
            lambda message: result(message, TEXT),
        )
    )
    with box.served():
        assert await called(box) == "found"


@pytest.mark.parametrize("told", ["{url}/messages", "//{host}/messages", "http://[::1/messages"])
async def test_an_sse_server_takes_no_key_to_another_server_and_that_is_told_at_once(
    told: str,
) -> None:
    elsewhere = Elsewhere()
    with serving(elsewhere) as url:
        place = told.format(url=url, host=url.removeprefix("http://"))
        said = kept_open(f": hello\r\n\r\nevent: endpoint\r\ndata: {place}\r\n\r\n".encode())
        started = monotonic()
        with serving(said) as own, pytest.raises(UpstreamError) as raised:
            await list_tools(endpoint(f"{own}/sse", SSE, **{"X-Key": KEY}), LOOPBACK)

    assert str(raised.value) == (
        'MCP server "Tries": wants to be written to at another address, which is not followed'
    )
    assert (raised.value.retryable, raised.value.may_have_happened) == (False, False)
    assert monotonic() - started < mcp.HANDSHAKE_SECONDS / 2
    assert elsewhere.asked == []


def kept_open(body: bytes) -> ASGIApp:
    """An application whose event stream begins so, and does not end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await lifespan(receive, send)
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return None

    return app


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_where_an_sse_server_is_written_to_is_found_wherever_its_parts_come(end: bytes) -> None:
    told = ": event: endpoint|event: message|data: /one||id: 1|event:endpoint|data: /two||"
    said = f"{told}event: endpoint|data: /three||: x".encode().replace(b"|", end)
    for first in range(len(said)):
        for second in range(first, len(said), 7):
            event = EndpointEvent()
            parts = [said[:first], said[first:second], said[second:]]
            assert [one for one in map(event.feed, parts) if one is not None] == ["/two"]


@pytest.mark.parametrize(
    ("told", "is_away"),
    [
        ("/messages?session=1", False),
        ("messages", False),
        ("?a", False),
        ("http://docs.example:8080/messages", False),
        ("https://docs.example:8080/messages", True),
        ("http://docs.example/messages", True),
        ("http://docs.example:8080@other.example/", True),
        ("http://me@docs.example:8080/", True),
        ("http:http://other.example/", False),  # a path of its own, as urljoin reads it
        ("//other.example/", True),
        ("mailto:me@docs.example", True),
        ("http://[", True),
    ],
)
def test_an_address_of_another_server_leads_away(told: str, *, is_away: bool) -> None:
    assert leads_away("http://docs.example:8080/sse", told) is is_away


async def test_an_sse_server_that_knows_nothing_newer_is_asked_in_its_own_way() -> None:
    box = Toolbox()
    box.put_search()
    app = box.server.sse_app()
    with serving(dying(app, at=b"server/discover")) as url:
        told = await list_tools(endpoint(url, SSE), LOOPBACK)

    assert [one["name"] for one in told.tools] == ["search"]


async def test_a_header_of_ones_own_is_sent_once_whatever_its_case() -> None:
    box = Toolbox()
    box.put_search()
    with box.served():
        own = endpoint(box.url, STREAMABLE, **{"user-agent": "mine/1", "x-key": KEY})
        await call_tool(own, LOOPBACK, "search", {"query": "a"})
        await call_tool(box.endpoint(), LOOPBACK, "search", {"query": "a"})

    agents = [headers["user-agent"] for _, _, headers in box.asked]
    assert "mine/1" in agents
    assert {one.partition("/")[0] for one in agents} == {"mine", "aether"}
