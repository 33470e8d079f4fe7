"""Plane's part of the conformance tests: a new installation whose deliveries are v2's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from aether.demo.serving import serving
from aether.events import Subject
from aether.sources.plane import Plane
from tests.sources.kit import Kit, Request
from tests.sources.plane.hooks import SECRET, Age, Board, signed
from tests.sources.plane.stand_in import TOKEN, PlaneStandIn
from tests.sources.plane.state import BO, DONE, PROJECT, SLUG, Item

EVENTS: Final = {"issue.commented": "issue_comment"}


def payloads() -> Mapping[str, Any]:
    board = Board(Age.V1)
    item = board.open("It breaks", html="<p>On start.</p>")
    board.say(item, "<p>And now?</p>", BO)
    board.move(item, DONE)
    opened, commented, closed = (json.loads(body) for _, body in board.webhooks)
    # A comment is told without its item; v0.13 told a little of it, as does a poll.
    commented["data"]["issue_detail"] = {"id": item.id, "name": item.name}
    return {"issue.created": opened, "issue.closed": closed, "issue.commented": commented}


def request(trigger: str, payload: Any, secret: str) -> Request:
    body = json.dumps(payload).encode()
    return signed(body, EVENTS.get(trigger, "issue"), secret)


def with_comment_text(payload: Any, text: str) -> Any:
    words, _, marker = text.partition("\n\n<!-- aether:")
    link = f'<a href="https://aether.invalid/#aether:{marker.removesuffix(" -->")}">\u200b</a>'
    html = f"<p>{words}{link if marker else ''}</p>"
    return {**payload, "data": {**payload["data"], "comment_html": html}}


@dataclass(frozen=True, kw_only=True)
class PlaneWorld:
    """One work item at the Plane that stands in."""

    plane: PlaneStandIn
    item: Item
    url: str
    subject: Subject
    headers: Mapping[str, str]

    def comments(self) -> list[str]:
        return [one.html for one in self.item.comments]

    def titles(self) -> list[str]:
        return [one.name for one in self.plane.items.values()]


@contextmanager
def world() -> Iterator[PlaneWorld]:
    plane = PlaneStandIn(Age.V2)
    item = plane.open("It breaks", html="<p>On start.</p>")
    project = f"{SLUG}/{PROJECT}"
    subject = Subject(kind="issue", project=project, key=item.id, title="It breaks")
    with serving(plane.door) as url:
        yield PlaneWorld(
            plane=plane, item=item, url=url, subject=subject, headers={"X-API-Key": TOKEN}
        )


KIT: Final = Kit(
    source=Plane(),
    secret=SECRET,
    other_secret="another secret",
    proof="x-plane-signature",
    payloads=payloads(),
    request=request,
    with_comment_text=with_comment_text,
    world=world,
)
