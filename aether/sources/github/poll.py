"""Polls one GitHub repository: issues, pull requests, their reviews, and comments.

https://docs.github.com/en/rest/issues/issues#list-repository-issues ,
https://docs.github.com/en/rest/issues/comments , https://docs.github.com/en/rest/pulls/pulls .
A list that is as before is answered 304, which is not counted:
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import SourceEvent
from aether.sources.base import Outbound, PollPage
from aether.sources.github import polled_lists as lists
from aether.sources.github.answer import repository_path
from aether.sources.github.extract import read_event
from aether.sources.github.polled_lists import Item, Times
from aether.sources.reading import key, mapping, moment, number_key, storable, text

log = logging.getLogger(__name__)

VERSION: Final = 1
SAME_MOMENT: Final = timedelta(seconds=2)  # an item's time may come after its comment's
GONE: Final = frozenset({404, 410})


async def poll(
    client: Outbound,
    source_project_id: str,
    cursor: Mapping[str, Any],
    times: Times,
) -> PollPage:
    """One page of each list: at most three requests, and a few for each item that changed.

    Issues and comments are read forwards by ``updated_at``; pull requests, whose list knows no
    ``since``, backwards down to where the last poll stood. Raises as ``PolledSource.poll``.
    """
    path = repository_path(source_project_id)
    known = cursor if cursor.get("v") == VERSION else {}
    repository = known.get("repository") or await _repository(client, path)
    # Issues first: a comment that made one look changed is then in the comments for sure.
    issues = await lists.forwards(
        client, f"{path}/issues", {"state": "all"}, mapping(known.get("issues")), times
    )
    pulls = await lists.backwards(client, f"{path}/pulls", mapping(known.get("pulls")), times)
    comments = await _comments(client, path, mapping(known.get("comments")), times, issues)
    step = _Step(client, path, repository, issues.items, comments.items)
    events = [
        *[event for one in issues.fresh for event in await step.of_issue(issues, one)],
        *[event for one in pulls.fresh for event in await step.of_pull(pulls, one)],
        *[event for one in comments.fresh for event in await step.of_comment(comments, one)],
    ]
    pages = (issues, pulls, comments)
    after = dict(zip(("issues", "pulls", "comments"), lists.resting(pages), strict=True))
    return PollPage(
        events=sorted(events, key=lambda event: event.happened_at or ""),
        cursor={"v": VERSION, "repository": repository, **after},
        has_more=any(page.has_more for page in pages),
    )


async def _repository(client: Outbound, path: str) -> Mapping[str, Any]:
    """What each payload says of its repository; asked once, kept in the cursor."""
    told = mapping(await client.request("GET", path))
    if not text(told.get("full_name")):
        raise UpstreamError(f"GET {path}: GitHub's answer names no repository", retryable=False)
    owner = {"login": text(mapping(told.get("owner")).get("login"))}
    names = ("id", "name", "full_name", "private", "html_url")
    return {**{name: told.get(name) for name in names}, "owner": owner}


async def _comments(
    client: Outbound, path: str, known: Item, times: Times, issues: lists.Page
) -> lists.Page:
    """The repository's comments; what speaks like GitHub may list an item's only."""
    try:
        return await lists.forwards(client, f"{path}/issues/comments", {}, known, times)
    except UpstreamError as error:
        if error.status != 404:
            raise
    numbers = [number for one in issues.fresh if (number := number_key(one.get("number")))]
    return await lists.of_items(client, path, numbers, known, times, has_more=issues.has_more)


class _Step:
    """Turns what the lists gave into events, as the webhooks of the same acts would be read."""

    def __init__(
        self,
        client: Outbound,
        path: str,
        repository: Mapping[str, Any],
        issues: Sequence[Item],
        comments: Sequence[Item],
    ) -> None:
        self._client = client
        self._path = path
        self._repository = repository
        self._issues: dict[str, Item] = {}
        for one in issues:
            self._issues[number_key(one.get("number")) or ""] = one
        self._newest_comment: dict[str, datetime] = {}
        for one in comments:
            number, told = _number_of(one), moment(one.get("updated_at"))
            if told is not None:
                known = self._newest_comment.get(number, told)
                self._newest_comment[number] = max(known, told)

    async def of_issue(self, page: lists.Page, one: Item) -> list[SourceEvent]:
        """Its creation, its close, else that it changed; nothing where a comment explains it."""
        if "pull_request" in one:
            return []  # the list of pull requests knows their own ids
        events = self._of_item("issues", "issue", one, page, closed_by=one.get("closed_by"))
        if not events and await self._is_explained(one, has_comments=one.get("comments") != 0):
            return []
        return events or self._changed("issues", "issue", one)

    async def of_pull(self, page: lists.Page, one: Item) -> list[SourceEvent]:
        """As ``of_issue``, and its reviews."""
        one = {**one, "merged": bool(one.get("merged_at"))}  # the list leaves it out
        reviews, last = await self._reviews(page, one)
        events = self._of_item("pull_request", "pull_request", one, page)
        for review in reviews:
            about = {"review": review, "pull_request": one}
            events += self._event("pull_request_review", "submitted", about, review.get("user"),
                                  review.get("submitted_at"))  # fmt: skip
        if events or await self._is_explained(one, has_comments=True, by=last):
            return events
        return self._changed("pull_request", "pull_request", one)

    async def of_comment(self, page: lists.Page, one: Item) -> list[SourceEvent]:
        """The comment's creation; an edit of an older one is nothing."""
        number, created = _number_of(one), moment(one.get("created_at"))
        if page.has_told(one) or created is None or created < page.begins or not number:
            return []
        issue = self._issues.get(number)
        if issue is None:
            issue = await self._issue(number)
            if issue is None:
                return []
            self._issues[number] = issue
        about = {"issue": issue, "comment": one}
        user, at = one.get("user"), one.get("created_at")
        return self._event("issue_comment", "created", about, user, at)

    def _of_item(
        self, event_name: str, noun: str, one: Item, page: lists.Page, *, closed_by: Any = None
    ) -> list[SourceEvent]:
        events: list[SourceEvent] = []
        created, closed = moment(one.get("created_at")), moment(one.get("closed_at"))
        if created is not None and created >= page.begins and not page.has_told(one):
            about = {noun: one}
            user, at = one.get("user"), one.get("created_at")
            events += self._event(event_name, "opened", about, user, at)
        is_new_close = closed is not None and closed >= page.begins and page.closes(one)
        if is_new_close and one.get("state") == "closed":
            about = {noun: one}
            events += self._event(event_name, "closed", about, closed_by, one.get("closed_at"))
        return events

    def _changed(self, event_name: str, noun: str, one: Item) -> list[SourceEvent]:
        """An update; ``edited`` is what GitHub says of most of them."""
        events = self._event(event_name, "edited", {noun: one}, None, one.get("updated_at"))
        kind = "pr" if noun == "pull_request" else "issue"
        change_key = f"{kind}:{key(one.get('id'))}:updated:{text(one.get('updated_at'))}"
        return [
            replace(
                event, told_by="state", change_key=change_key, delivery_key=f"poll:{change_key}"
            )
            for event in events
        ]

    async def _is_explained(
        self, one: Item, *, has_comments: bool, by: datetime | None = None
    ) -> bool:
        """Whether ``updated_at`` is the time of something that is told by itself.

        Its creation, its close, a review at ``by``, a comment that is new or edited.
        """
        changed, number = moment(one.get("updated_at")), number_key(one.get("number"))
        if changed is None or number is None:
            return False
        acts = (moment(one.get("created_at")), moment(one.get("closed_at")), by)
        if any(at is not None and abs(changed - at) <= SAME_MOMENT for at in acts):
            return True
        if not has_comments:
            return False
        newest = self._newest_comment.get(number)
        if newest is not None and newest >= changed - SAME_MOMENT:
            return True
        query = {"since": lists.to_query(changed - SAME_MOMENT), "per_page": "1"}
        found = await self._or_gone(f"{self._path}/issues/{number}/comments", query)
        return bool(found)

    async def _reviews(self, page: lists.Page, one: Item) -> tuple[list[Item], datetime | None]:
        """Reviews that are not told yet, in the webhook's spelling, and the last one's time."""
        number = number_key(one.get("number"))
        try:
            told = await self._client.pages(
                f"{self._path}/pulls/{number}/reviews", {"per_page": "100"}
            )
        except UpstreamError as error:
            if error.status not in GONE:
                raise
            return [], None
        reviews = [
            {**review, "state": text(review.get("state")).lower()}
            for review in map(mapping, told)
            if isinstance(review.get("id"), int) and moment(review.get("submitted_at")) is not None
        ]
        new: list[Item] = [
            review
            for review in reviews
            if (moment(review["submitted_at"]) or page.begins) >= page.begins
            and review["id"] > page.last_review(one)
        ]
        page.remember_review(one, max((review["id"] for review in reviews), default=0))
        times = [at for review in reviews if (at := moment(review["submitted_at"])) is not None]
        return new, max(times, default=None)

    async def _issue(self, number: str) -> Item | None:
        told = await self._or_gone(f"{self._path}/issues/{number}", {})
        return mapping(told) or None

    async def _or_gone(self, path: str, query: Mapping[str, str]) -> Any:
        try:
            return await self._client.request("GET", path, query=query)
        except UpstreamError as error:
            if error.status not in GONE:
                raise
            return None  # deleted or moved away since it was listed

    def _event(
        self, event_name: str, action: str, about: Mapping[str, Item], sender: Any, at: Any
    ) -> list[SourceEvent]:
        """The event of one act, in a list; an empty list where it cannot be read."""
        happened = moment(at)
        payload: dict[str, Any] = {"action": action, **about, "repository": self._repository}
        if mapping(sender):
            payload["sender"] = sender
        try:
            event = read_event(event_name, storable(payload), delivery_key="")
        except InvalidInputError as error:
            log.warning("GitHub %s: an item is left out: %s", self._path, error)
            return []
        return [
            replace(
                event,
                delivery_key=f"poll:{event.change_key}",
                told_by="poll",
                happened_at=lists.to_query(happened) if happened else None,
            )
        ]


def _number_of(comment: Item) -> str:
    return number_key(text(comment.get("issue_url")).rpartition("/")[2]) or ""
