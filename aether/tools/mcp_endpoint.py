"""Where a server that speaks SSE wants to be written to: the first event ``endpoint`` it sends.

The SDK refuses an address at another server, rightly, and then waits as if nothing had been said.
https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

from urllib.parse import urljoin, urlsplit


class EndpointEvent:
    """Finds that event in an event stream, as it comes in parts.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._event = b""
        self._data: list[bytes] = []
        self._is_found = False

    def feed(self, part: bytes) -> str | None:
        """What the event says, once: with the part that completes it."""
        if self._is_found:
            return None
        self._parts.append(part)
        if b"\n" not in part and b"\r" not in part:
            return None
        told = b"".join(self._parts)
        whole = told.removesuffix(b"\r")  # of which a line feed may come yet
        *lines, rest = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._parts = [rest + told[len(whole) :]]
        for line in lines:
            if line:
                self._take(line)
            elif self._event == b"endpoint":
                self._is_found = True
                return b"\n".join(self._data).decode(errors="replace")
            else:
                self._event, self._data = b"", []
        return None

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value
        elif name == b"data":
            self._data.append(value)


def leads_away(url: str, told: str) -> bool:
    """Whether ``told``, of the server at ``url``, is an address that the SDK does not write to."""
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, told))
    except ValueError:
        return True
    return (here.scheme, here.netloc) != (there.scheme, there.netloc)
