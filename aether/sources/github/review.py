"""Submits reviews of pull requests, and finds one that was submitted.

https://docs.github.com/en/rest/pulls/reviews
"""

from typing import Any, Final

from aether.errors import InvalidInputError
from aether.events import Subject
from aether.sources.base import NewReview, Outbound, Posted
from aether.sources.github.answer import posted, pull_path
from aether.sources.reading import mapping, text

_EVENTS: Final = {
    "comment": "COMMENT",
    "approve": "APPROVE",
    "request_changes": "REQUEST_CHANGES",
}
_SIDES: Final = {"new": "RIGHT", "old": "LEFT"}


async def submit(
    client: Outbound, subject: Subject, review: NewReview, *, timeout: float
) -> Posted:
    """The verdict, its text and its remarks on lines in one call; asked twice, there are two.

    Raises:
        InvalidInputError: the subject is no pull request.
        UpstreamError: GitHub refused it whole: a line that is not in the diff, one's own pull
            request approved.
    """
    fields: dict[str, Any] = {"event": _EVENTS[review.verdict], "body": review.body}
    if review.comments:
        fields["comments"] = [
            {"path": one.path, "line": one.line, "side": _SIDES[one.side], "body": one.body}
            for one in review.comments
        ]
    path = f"{_path(subject)}/reviews"
    return posted(await client.request("POST", path, json=fields, timeout=timeout))


async def find(client: Outbound, subject: Subject, marker: str) -> Posted | None:
    """The review whose text holds ``marker``; GitHub lists all, the oldest first."""
    listed = await client.pages(f"{_path(subject)}/reviews", {"per_page": "100"})
    found = next((one for one in map(mapping, listed) if marker in text(one.get("body"))), None)
    return posted(found) if found is not None else None


def _path(subject: Subject) -> str:
    if subject.kind != "pr":
        raise InvalidInputError("subject", "only pull requests are reviewed")
    return pull_path(subject)
