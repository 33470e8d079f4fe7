"""Server-sent events as clients read them: only for those that want no JSON, ended by LF."""

from typing import Final

from strawberry.http.streaming import SSETransport

EVENTS: Final = "text/event-stream"
JSON: Final = frozenset(
    {"application/json", "application/graphql-response+json", "application/graphql+json"}
)


class Events(SSETransport):
    """Strawberry's, with what urql (@urql/core 6.0.3) cannot read of it changed.

    urql names every form that it reads with each query, JSON first, and takes the end of a
    stream for a missing answer. And it parts events at LF alone, which is as good as CRLF:
    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """

    def accepts(self, accept: str) -> bool:
        """Whether events are named, and no form of JSON before them."""
        kinds = (part.partition(";")[0].strip().lower() for part in accept.split(","))
        return next((kind for kind in kinds if kind == EVENTS or kind in JSON), None) == EVENTS

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace("\r\n", "\n")

    def encode_comment(self, comment: str) -> str:
        return super().encode_comment(comment).replace("\r\n", "\n")
