"""How we ask other servers: what is sent once, what again, what is waited for, what is refused."""

import asyncio
import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from aether.errors import InvalidInputError, UpstreamError
from aether.http import HttpClients
from aether.http_answers import Answer, next_page, platform_message, read_limit
from tests.core.fakes import STARTED, FakeTime, Platform, connect

COMMENTS = "/repos/acme/api/issues/7/comments"
TEN_MEGABYTES = 10 * 1024 * 1024


async def _echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "query": dict(request.query_params),
            "headers": dict(request.headers),
            "body": (await request.body()).decode(),
            "raw_path": request.scope["raw_path"].decode(),
        },
        headers={"set-cookie": "session=of-another; Path=/"},
    )


async def _items(request: Request) -> Response:
    page = int(request.query_params.get("page", "1"))
    url = str(request.url.include_query_params(page=page + 1))
    link = {"link": f'<{request.url}>; rel="prev", <{url}>; rel="next"'} if page < 4 else {}
    return JSONResponse([{"page": page}], headers=link)


async def _tagged(request: Request) -> Response:
    etag = 'W/"1"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"etag": etag})
    return JSONResponse([{"id": 1}], headers={"etag": etag})


async def _unasked(_: Request) -> Response:
    return Response(status_code=304)


async def _elsewhere(request: Request) -> Response:
    port = request.url.port
    return JSONResponse([1], headers={"link": f'<http://localhost:{port}/items>; rel="next"'})


async def _moved(request: Request) -> Response:
    host = "127.0.0.1" if request.query_params.get("to") == "here" else "localhost"
    return RedirectResponse(f"http://{host}:{request.url.port}/echo?moved=1")


async def _round(request: Request) -> Response:
    return RedirectResponse(str(request.url))


async def _large(request: Request) -> Response:
    size = TEN_MEGABYTES + int(request.query_params.get("over", "0"))
    body = b'"' + b"a" * (size - 2) + b'"'
    if request.query_params.get("zip"):
        return Response(gzip.compress(body, 1), headers={"content-encoding": "gzip"})
    return Response(body, media_type="application/json")


async def _text(request: Request) -> Response:
    return Response(request.query_params["is"].encode(), 200)


async def _empty(_: Request) -> Response:
    return Response(status_code=204)


@pytest.fixture
def platform() -> Iterator[Platform]:
    handlers = {
        "/echo": _echo, "/items": _items, "/elsewhere": _elsewhere, "/moved": _moved,
        "/tagged": _tagged, "/unasked": _unasked,
        "/round": _round, "/large": _large, "/text": _text, "/empty": _empty,
        COMMENTS: _echo, "/projects/{rest:path}": _echo,
    }  # fmt: skip
    with Platform(handlers).served() as served:
        yield served


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


# -- what is sent


async def test_a_request_carries_the_credential_and_the_json(platform: Platform) -> None:
    async with HttpClients() as clients:
        told = await connect(clients, platform.url, X_API_Key="k").request(
            "POST", "/echo", query={"a": "b c"}, json={"body": "grüß \ud800"}
        )

    assert (told["method"], told["query"]) == ("POST", {"a": "b c"})
    assert json.loads(told["body"]) == {"body": "grüß ?"}
    assert told["headers"]["x-api-key"] == "k"
    assert told["headers"]["content-type"] == "application/json"
    assert told["headers"]["user-agent"].startswith("aether/")


async def test_an_escaped_slash_stays_escaped(platform: Platform) -> None:
    async with HttpClients() as clients:
        told = await connect(clients, platform.url).request("GET", "/projects/acme%2Fapi")

    assert told["raw_path"] == "/projects/acme%2Fapi"


async def test_a_session_of_one_credential_is_not_lent_to_another(platform: Platform) -> None:
    async with HttpClients() as clients:
        await connect(clients, platform.url, Authorization="Bearer one").request("GET", "/echo")
        told = await connect(clients, platform.url, Authorization="Bearer two").request(
            "GET", "/echo"
        )

    assert "cookie" not in told["headers"]
    assert told["headers"]["authorization"] == "Bearer two"


@pytest.mark.parametrize(
    "path", ["", "echo", "//evil.test/x", "/a/../../x", "/a/%2e%2e/x", "/echo?x=1", "/a#b", "/a\n"]
)
async def test_a_path_that_leads_elsewhere_is_not_asked(platform: Platform, path: str) -> None:
    async with HttpClients() as clients:
        with pytest.raises(InvalidInputError, match="path"):
            await connect(clients, platform.url).request("GET", path)

    assert platform.asked == []


@pytest.mark.parametrize(
    "url", ["ftp://a.test", "http://user:pw@a.test", "http://a.test/?x=1", "a.test", "http://"]
)
async def test_a_base_address_is_http_and_holds_no_password(url: str) -> None:
    async with HttpClients() as clients:
        with pytest.raises(InvalidInputError, match="base_url"):
            connect(clients, url)


# -- what comes back


async def test_no_content_is_none(platform: Platform) -> None:
    async with HttpClients() as clients:
        assert await connect(clients, platform.url).request("DELETE", "/empty") is None


async def test_half_a_character_does_not_spoil_the_rest_of_an_answer(platform: Platform) -> None:
    async with HttpClients() as clients:
        told = await connect(clients, platform.url).request(
            "GET", "/text", query={"is": '{"a": "\\ud800"}'}
        )

    assert told == {"a": "\ud800"}


@pytest.mark.parametrize("text", ["<html>sign in</html>", "[" * 200_000], ids=["html", "deep"])
async def test_an_answer_that_is_no_json_is_an_upstream_error(
    platform: Platform, text: str
) -> None:
    platform.faults.fail_next(status=200, body=text, times=2)

    async with HttpClients() as clients:
        with pytest.raises(
            UpstreamError, match=r"GET /echo: its answer \(200\) is no JSON"
        ) as read:
            await connect(clients, platform.url).request("GET", "/echo")
        with pytest.raises(UpstreamError) as wrote:
            await connect(clients, platform.url).request("POST", "/echo", json={})

    assert not read.value.retryable
    assert (read.value.may_have_happened, wrote.value.may_have_happened) == (False, True)


@pytest.mark.parametrize("zipped", ["", "1"])
async def test_an_answer_of_ten_megabytes_is_read_and_one_more_byte_is_refused(
    platform: Platform, zipped: str
) -> None:
    async with HttpClients() as clients:
        connection = connect(clients, platform.url)

        whole = await connection.request("GET", "/large", query={"zip": zipped})
        with pytest.raises(UpstreamError, match="its answer is over 10 MB") as caught:
            await connection.request("GET", "/large", query={"over": "1", "zip": zipped})

    assert len(whole) == TEN_MEGABYTES - 2
    assert not caught.value.retryable
    assert len(platform.asked) == 2


@pytest.mark.parametrize(
    ("times", "told"), [(1, "gzip"), (1, "GZIP"), (2, "gzip, gzip"), (2, "gzip,gzip")]
)
async def test_an_answer_that_unpacks_to_far_more_takes_no_room(times: int, told: str) -> None:
    bomb = b'"' + b"a" * (64 * 1024 * 1024) + b'"'
    for _ in range(times):
        bomb = gzip.compress(bomb, 9)

    async def packed(_: Request) -> Response:
        return Response(bomb, headers={"content-encoding": told})

    with Platform({"/packed": packed}).served() as platform:
        async with HttpClients() as clients:
            tracemalloc.start()
            try:
                with pytest.raises(UpstreamError) as caught:
                    await connect(clients, platform.url).request("GET", "/packed")
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()

    assert not caught.value.retryable
    assert most < 3 * TEN_MEGABYTES


async def test_an_answer_that_is_packed_wrongly_is_an_upstream_error() -> None:
    async def broken(_: Request) -> Response:
        return Response(b"no gzip", headers={"content-encoding": "gzip"})

    with Platform({"/broken": broken}).served() as platform:
        async with HttpClients() as clients:
            with pytest.raises(UpstreamError, match=r"^GET /broken: "):
                await connect(clients, platform.url).request("GET", "/broken")


# -- what a failure says


def test_a_message_nested_without_end_is_read_as_far_as_it_goes() -> None:
    for deep in (b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900):
        body = b'{"errors":' + deep + b',"message":"no such thing"}'

        assert platform_message(body) == "no such thing"
        assert read_limit(Answer(status=403, headers={}, body=body), STARTED) is None


async def test_an_error_names_the_call_and_the_platforms_words_and_no_secret(
    platform: Platform,
) -> None:
    quoted = "no\nsuch thing: Bearer ghp_0123456789abcdef"
    platform.faults.fail_next(
        status=422,
        body={"message": quoted, "errors": [{"field": "title", "code": "missing"}, "odd"]},
    )

    async with HttpClients() as clients:
        connection = connect(
            clients, platform.url, Authorization="Bearer ghp_0123456789abcdef", Accept="x/y"
        )
        with pytest.raises(UpstreamError) as caught:
            await connection.request("POST", "/echo", query={"key": "AIzaSECRET"}, json={})

    assert str(caught.value) == (
        "POST /echo: answered 422, no such thing: Bearer ***; title: missing; odd"
    )
    assert (caught.value.status, caught.value.retryable) == (422, False)
    assert not caught.value.may_have_happened


async def test_a_header_that_cannot_be_sent_is_not_quoted(platform: Platform) -> None:
    async with HttpClients() as clients:
        connection = connect(clients, platform.url, Authorization="Bearer sec\r\nret")
        with pytest.raises(UpstreamError, match=r"^GET /echo: cannot be sent as it is$") as caught:
            await connection.request("GET", "/echo")

    assert not caught.value.retryable
    assert platform.asked == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errorMessages": ["Issue does not exist"], "errors": {}}, "Issue does not exist"),
        ({"errorMessages": [], "errors": {"summary": "is required"}}, "summary: is required"),
        ({"message": {"base": ["is locked"]}}, "base: is locked"),
        ({"detail": "Not found."}, "Not found."),
    ],
)
async def test_each_platforms_words_are_found(
    platform: Platform, body: dict[str, object], said: str
) -> None:
    platform.faults.fail_next(status=404, body=body)

    async with HttpClients() as clients:
        with pytest.raises(UpstreamError) as caught:
            await connect(clients, platform.url).request("GET", "/echo")

    assert str(caught.value) == f"GET /echo: answered 404, {said}"


# -- what is asked again


async def test_a_read_is_asked_three_times_when_the_platform_fails(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=502)
    platform.faults.drop_next()

    async with time.clients() as clients:
        told = await connect(clients, platform.url).request("GET", "/echo")

    assert told["method"] == "GET"
    assert platform.asked == ["GET /echo"] * 3
    assert time.slept == [0.2, 0.6]


async def test_a_read_gives_up_after_three_failures(platform: Platform, time: FakeTime) -> None:
    platform.faults.fail_next(status=500, times=9)

    async with time.clients() as clients:
        with pytest.raises(UpstreamError) as caught:
            await connect(clients, platform.url).request("GET", "/echo")

    assert (caught.value.status, caught.value.retryable) == (500, True)
    assert platform.asked == ["GET /echo"] * 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_write_that_fails_is_sent_once_and_may_have_happened(
    platform: Platform, time: FakeTime, status: int
) -> None:
    platform.faults.fail_next(status=status, headers={"retry-after": "7"})

    async with time.clients() as clients:
        with pytest.raises(UpstreamError) as caught:
            await connect(clients, platform.url).request("POST", COMMENTS, json={"body": "hi"})

    assert (caught.value.retryable, caught.value.may_have_happened) == (True, True)
    assert caught.value.retry_after == 7
    assert platform.asked == [f"POST {COMMENTS}"]


async def test_a_write_whose_connection_broke_is_sent_once_and_may_have_happened(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.drop_after_commit_next()

    async with time.clients() as clients:
        with pytest.raises(UpstreamError) as caught:
            await connect(clients, platform.url).request("POST", COMMENTS, json={"body": "hi"})

    assert (caught.value.retryable, caught.value.may_have_happened) == (True, True)
    assert platform.asked == [f"POST {COMMENTS}"]


async def test_a_write_without_answer_may_have_happened(platform: Platform) -> None:
    never = threading.Event()
    platform.faults.delay_next(delay=never)

    async with HttpClients() as clients:
        with pytest.raises(UpstreamError, match=r"no answer within 0\.2 s") as caught:
            await connect(clients, platform.url).request("POST", COMMENTS, json={}, timeout=0.2)
    never.set()

    assert (caught.value.retryable, caught.value.may_have_happened) == (True, True)


async def test_a_write_that_found_no_server_did_not_happen(time: FakeTime) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        async with time.clients() as clients:
            with pytest.raises(UpstreamError) as wrote:
                await connect(clients, url).request("POST", COMMENTS, json={})
            with pytest.raises(UpstreamError):
                await connect(clients, url).request("GET", COMMENTS)

    assert (wrote.value.retryable, wrote.value.may_have_happened) == (True, False)
    assert time.slept == [0.2, 0.6]  # the read's


# -- where it leads


async def test_a_read_follows_a_redirect_on_the_same_host(platform: Platform) -> None:
    async with HttpClients() as clients:
        told = await connect(clients, platform.url, X_API_Key="k").request(
            "GET", "/moved", query={"to": "here"}
        )

    assert told["query"] == {"moved": "1"}
    assert told["headers"]["x-api-key"] == "k"


async def test_a_credential_does_not_follow_to_another_host(platform: Platform) -> None:
    async with HttpClients() as clients:
        with pytest.raises(UpstreamError, match="redirected to another host") as caught:
            await connect(clients, platform.url, X_API_Key="k").request("GET", "/moved")

    assert not caught.value.retryable
    assert platform.asked == ["GET /moved"]


async def test_a_write_follows_no_redirect(platform: Platform) -> None:
    async with HttpClients() as clients:
        with pytest.raises(UpstreamError, match="answered 307, it has moved") as caught:
            await connect(clients, platform.url).request(
                "POST", "/moved", query={"to": "here"}, json={}
            )

    assert (caught.value.retryable, caught.value.may_have_happened) == (False, False)
    assert platform.asked == ["POST /moved"]


async def test_redirects_in_a_circle_end(platform: Platform) -> None:
    async with HttpClients() as clients:
        with pytest.raises(UpstreamError, match="too many redirects"):
            await connect(clients, platform.url).request("GET", "/round")

    assert len(platform.asked) == 6


async def test_pages_are_read_to_the_last(platform: Platform) -> None:
    async with HttpClients() as clients:
        items = await connect(clients, platform.url).pages("/items", {"state": "all"})

    assert items == [{"page": 1}, {"page": 2}, {"page": 3}, {"page": 4}]
    assert {call.query["state"] for call in platform.door.calls} == {"all"}


async def test_pages_stop_at_their_bound_and_say_so(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    async with HttpClients() as clients:
        items = await connect(clients, platform.url).pages("/items", {}, max_pages=2)

    assert items == [{"page": 1}, {"page": 2}]
    assert caplog.messages == ["GET /items: stopped after 2 pages, there are more"]


async def test_a_next_page_on_another_host_is_not_asked(platform: Platform) -> None:
    async with HttpClients() as clients:
        with pytest.raises(UpstreamError, match="its next page is on another host"):
            await connect(clients, platform.url, X_API_Key="k").pages("/elsewhere", {})

    assert platform.asked == ["GET /elsewhere"]


async def test_what_is_as_before_is_told_so_and_costs_no_body(platform: Platform) -> None:
    async with FakeTime().clients() as clients:
        connection = connect(clients, platform.url)

        first = await connection.fetch("/tagged", {})
        again = await connection.fetch("/tagged", {}, etag=first.etag)
        other = await connection.fetch("/tagged", {}, etag='W/"0"')

    assert (first.body, first.is_unchanged, first.etag) == ([{"id": 1}], False, 'W/"1"')
    assert (again.body, again.is_unchanged, again.etag) == (None, True, 'W/"1"')
    assert (other.body, other.is_unchanged) == ([{"id": 1}], False)


async def test_a_304_that_nobody_asked_for_is_an_error(platform: Platform) -> None:
    async with FakeTime().clients() as clients:
        with pytest.raises(UpstreamError) as raised:
            await connect(clients, platform.url).fetch("/unasked", {})

    assert raised.value.status == 304


async def test_a_fetched_page_names_the_query_of_the_next_on_its_own_host_only(
    platform: Platform,
) -> None:
    async with FakeTime().clients() as clients:
        connection = connect(clients, platform.url)

        second = await connection.fetch("/items", {"page": "2", "state": "all"})
        last = await connection.fetch("/items", {"page": "4"})
        elsewhere = await connection.fetch("/elsewhere", {})

    assert second.next_query == {"page": "3", "state": "all"}
    assert (last.next_query, elsewhere.next_query) == (None, None)


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ('<https://a.test/x?labels=a,b&page=2>; rel="next"', "https://a.test/x?labels=a,b&page=2"),
        (
            '<https://a.test/1>; rel="prev", <https://a.test/3>; title="x"; rel=next',
            "https://a.test/3",
        ),
        ('<https://a.test/9>; rel="last next"', "https://a.test/9"),
        ('<https://a.test/9>; rel="last"', None),
        ('<https://a.test/next>; title="next"', None),
        ("", None),
    ],
)
def test_the_next_page_is_found_in_a_link_header(link: str, following: str | None) -> None:
    assert next_page(link) == following


@pytest.mark.parametrize("odd", ["<", "<>;", "<x>; rel=", "<x>;  ", '<x>; rel="', "<x>;rel"])
def test_a_long_link_header_holds_nobody_up(odd: str) -> None:
    link = (odd * 100_000)[:100_000]  # it took more than a minute

    assert next_page(link) is None


# -- rate limits


@pytest.mark.parametrize(
    ("status", "headers", "message", "seconds"),
    [
        (403, {"retry-after": "3", "x-ratelimit-remaining": "4000"}, "", 3),
        (429, {"retry-after": "Wed, 18 Feb 2026 10:00:30 GMT"}, "", 30),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1771408804"}, "", 4),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-02-18T10:01Z"}, "", 60),
        (429, {"ratelimit-remaining": "0", "ratelimit-reset": "1771408890"}, "", 90),
        (403, {"x-ratelimit-remaining": "4000"}, "You have exceeded a secondary rate limit", None),
        (429, {"x-ratelimit-remaining": "4000"}, "", None),
        (429, {"retry-after": "soon"}, "", None),
        (429, {"retry-after": "nan"}, "", None),
        (429, {"retry-after": "-5"}, "", 0),
        (429, {"retry-after": "1e999"}, "", None),
        (429, {"retry-after": f"1 Jan 2026 00:00:00 +{'9' * 30}"}, "", None),
    ],
)
def test_a_limit_says_how_long_to_wait(
    status: int, headers: dict[str, str], message: str, seconds: float | None
) -> None:
    body = json.dumps({"message": message}).encode()

    limit = read_limit(Answer(status=status, headers=headers, body=body), STARTED)

    assert limit is not None
    assert limit.seconds == seconds


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
def test_another_answer_is_no_limit(status: int) -> None:
    headers = {"x-ratelimit-remaining": "4000", "x-ratelimit-reset": "1771408804"}
    body = b'{"message": "Resource not accessible by integration"}'

    assert read_limit(Answer(status=status, headers=headers, body=body), STARTED) is None


async def test_three_limits_are_waited_for_to_the_second_and_one_comment_is_made(
    platform: Platform, time: FakeTime
) -> None:
    faults = platform.faults
    faults.fail_next(status=403, headers={"retry-after": "3", "x-ratelimit-remaining": "4000"})
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(_epoch(time) + 3 + 4)}
    faults.fail_next(status=403, headers=reset)

    async with time.clients() as clients:
        told = await connect(clients, platform.url).request("POST", COMMENTS, json={"body": "hi"})

    assert time.slept == [3, 4]
    assert json.loads(told["body"]) == {"body": "hi"}
    assert [call.status for call in platform.door.calls] == [403, 403, 200]


async def test_a_limit_beyond_the_calls_time_is_told_and_nobody_asks_before(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=429)

    async with time.clients() as clients:
        connection = connect(clients, platform.url)
        with pytest.raises(UpstreamError) as first:
            await connection.request("POST", COMMENTS, json={})
        time.seconds += 10
        with pytest.raises(UpstreamError, match="must not be asked for another 50 s") as second:
            await connect(clients, platform.url, X_API_Key="another").request("GET", "/echo")
        time.seconds += 50
        await connection.request("POST", COMMENTS, json={})

    assert (first.value.status, first.value.retryable, first.value.retry_after) == (429, True, 60)
    assert (second.value.retryable, second.value.retry_after) == (True, 50)
    assert not first.value.may_have_happened
    assert not second.value.may_have_happened
    assert platform.asked == [f"POST {COMMENTS}"] * 2
    assert time.slept == []


async def test_an_untold_limit_is_waited_for_longer_each_time(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=403, body={"message": "secondary rate limit"}, times=3)
    waits = []

    async with time.clients() as clients:
        connection = connect(clients, platform.url)
        for _ in range(3):
            with pytest.raises(UpstreamError) as caught:
                await connection.request("GET", "/echo")
            waits.append(caught.value.retry_after)
            time.seconds += caught.value.retry_after or 0

    assert waits == [60, 120, 240]


async def test_a_plain_403_is_a_refusal_and_holds_nobody_up(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=403, headers={"x-ratelimit-remaining": "4000"})

    async with time.clients() as clients:
        connection = connect(clients, platform.url)
        with pytest.raises(UpstreamError) as caught:
            await connection.request("POST", COMMENTS, json={})
        await connection.request("POST", COMMENTS, json={})

    assert (caught.value.status, caught.value.retryable) == (403, False)
    assert time.slept == []


async def test_after_a_limit_one_request_goes_alone_until_it_is_served(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=429, headers={"retry-after": "25"})
    platform.faults.delay_next(delay=0.1, times=2)

    async with time.clients() as clients:
        connection = connect(clients, platform.url)
        with pytest.raises(UpstreamError):
            await connection.request("GET", "/echo")
        time.seconds += 15
        await asyncio.gather(*(connection.request("GET", "/echo") for _ in range(5)))

    first, probe, *others = platform.door.calls
    assert first.status == 429
    assert len(others) == 4
    assert probe.ended_at is not None
    assert all(call.at >= probe.ended_at for call in others)
    assert time.slept == [10]


async def test_a_secondary_limit_is_waited_for_to_the_second_and_the_write_made_once(
    platform: Platform, time: FakeTime
) -> None:
    told = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}
    headers = {"retry-after": "17", "x-ratelimit-remaining": "4321"}
    platform.faults.fail_next(status=403, headers=headers, body=told)

    async with time.clients() as clients:
        await connect(clients, platform.url).request("POST", COMMENTS, json={}, timeout=20)

    assert time.slept == [17]
    assert [call.status for call in platform.door.calls] == [403, 200]


async def test_waiting_ends_after_three_limits_and_says_for_how_long(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=429, headers={"retry-after": "2"}, times=9)

    async with time.clients() as clients:
        with pytest.raises(UpstreamError) as caught:
            await connect(clients, platform.url).request("GET", "/echo")

    assert (caught.value.status, caught.value.retryable, caught.value.retry_after) == (429, True, 2)
    assert time.slept == [2, 2]
    assert len(platform.asked) == 3


async def test_a_reset_is_waited_for_by_who_comes_later_too_and_other_hosts_are_free(
    platform: Platform, time: FakeTime
) -> None:
    reset = str(_epoch(time) + 3600)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
    told = {"message": "API rate limit exceeded"}
    platform.faults.fail_next(status=403, headers=headers, body=told)

    with Platform({"/echo": _echo}).served() as other:
        async with time.clients() as clients:
            here, there = connect(clients, platform.url), connect(clients, other.url)
            with pytest.raises(UpstreamError) as first:
                await here.request("POST", COMMENTS, json={})
            time.seconds += 3599
            with pytest.raises(UpstreamError, match="for another 1 s"):
                await connect(clients, platform.url, X_API_Key="k").request(
                    "GET", "/echo", timeout=1
                )
            await there.request("GET", "/echo")
            await here.request("POST", COMMENTS, json={})

    assert first.value.retry_after == 3600
    assert platform.asked == [f"POST {COMMENTS}"] * 2
    assert other.asked == ["GET /echo"]
    assert time.slept == [1]


async def test_twenty_that_wait_on_one_host_send_one_probe_and_wait_on_if_that_is_limited(
    platform: Platform, time: FakeTime
) -> None:
    platform.faults.fail_next(status=429, headers={"retry-after": "5"})

    async with time.clients() as clients:
        connections = [connect(clients, platform.url, X_API_Key=f"{n}") for n in range(20)]
        with pytest.raises(UpstreamError):
            await connections[0].request("GET", "/echo", timeout=3)
        platform.faults.fail_next(status=429, headers={"retry-after": "600"})
        outcomes = await asyncio.gather(
            *(one.request("POST", COMMENTS, json={}) for one in connections),
            return_exceptions=True,
        )

    assert platform.asked == ["GET /echo", f"POST {COMMENTS}"]
    assert all(isinstance(one, UpstreamError) for one in outcomes)
    assert {getattr(one, "retryable", None) for one in outcomes} == {True}
    assert {getattr(one, "may_have_happened", None) for one in outcomes} == {False}
    assert {round(getattr(one, "retry_after", 0)) for one in outcomes} == {600}
    assert time.slept == [5]


async def test_writes_are_spaced_only_when_the_minutes_budget_is_used_up(
    platform: Platform, time: FakeTime
) -> None:
    async with time.clients(budget=lambda _: 3, max_wait_seconds=100) as clients:
        connection = connect(clients, platform.url)
        for _ in range(3):
            await connection.request("POST", COMMENTS, json={})
            time.seconds += 10
        await connection.request("GET", "/echo")
        with pytest.raises(UpstreamError, match="another 30 s") as caught:
            await connection.request("POST", COMMENTS, json={}, timeout=20)
        await connection.request("POST", COMMENTS, json={}, timeout=60)

    assert (caught.value.retryable, caught.value.may_have_happened) == (True, False)
    assert time.slept == [30]
    assert len(platform.asked) == 5


def _epoch(time: FakeTime) -> int:
    assert time.clock() == datetime(2026, 2, 18, 10, 0, tzinfo=UTC)
    return int(time.clock().timestamp())
