"""Reviews merge requests: remarks on lines, a note, an approval or the approval taken back.

GitLab has no review that is one thing, so each part is looked for before it is made again.
https://docs.gitlab.com/api/discussions/#create-a-new-thread-in-the-merge-request-diff ,
https://docs.gitlab.com/api/merge_request_approvals/#approve-merge-request
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.markers import split_marker
from aether.sources.base import LineComment, NewReview, Outbound, Posted
from aether.sources.gitlab.answer import left, note_posted, notes, request
from aether.sources.gitlab.path import item_path
from aether.sources.reading import mapping, text

_REFUSED: Final = 401  # what GitLab says of an approval that may not be given
_ABSENT: Final = 404
_REFS: Final = ("base_sha", "start_sha", "head_sha")


async def submit(
    client: Outbound, subject: Subject, new: NewReview, *, since: str | None, timeout: float
) -> Posted:
    """The remarks, the verdict, then the note, all within ``timeout`` seconds.

    "Request changes" takes an approval of ours back and says why in the note: the API has no
    other word for it. ``since``: parts may be there from then on.

    Raises:
        InvalidInputError: the subject is no merge request; nothing was written.
        UpstreamError: GitLab refused a part; those before it are made.
    """
    deadline = time.monotonic() + timeout
    path = _path(subject)
    is_internal = subject.visibility == "internal"
    if is_internal and new.comments:
        raise InvalidInputError(
            "comments", "an internal note asked for the review, and remarks on lines are public"
        )
    known = await notes(client, path, since=since) if since is not None else []
    if new.comments:
        await _remark(client, deadline, path, new.comments, known)
    if new.verdict == "approve":
        await _approve(client, deadline, path)
    elif new.verdict == "request_changes":
        await _take_back(client, deadline, path)
    if not split_marker(new.body)[0].strip():
        return Posted(id=subject.key, url=subject.url)  # an approval says all by itself
    fields = {"body": new.body} | ({"internal": True} if is_internal else {})
    told = await request(client, "POST", f"{path}/notes", json=fields, timeout=left(deadline))
    return note_posted(subject, told)


async def find(client: Outbound, subject: Subject, marker: str, *, since: str) -> Posted | None:
    """The note of a review, which is written last, that holds ``marker``."""
    for one in await notes(client, _path(subject), since=since):
        if marker in text(one.get("body")) and not mapping(one.get("position")):
            return note_posted(subject, one)
    return None


async def _remark(
    client: Outbound,
    deadline: float,
    path: str,
    comments: Sequence[LineComment],
    known: Sequence[Mapping[str, Any]],
) -> None:
    there = {(text(one.get("body")), *_place(mapping(one.get("position")))) for one in known}
    wanted = [one for one in comments if (one.body, one.path, one.side, one.line) not in there]
    if not wanted:
        return
    told = mapping(await request(client, "GET", path, timeout=left(deadline)))
    refs = mapping(told.get("diff_refs"))
    if not all(text(refs.get(name)) for name in _REFS):
        raise InvalidInputError("comments", "the merge request has no diff to remark on yet")
    for one in wanted:
        position = {name: text(refs[name]) for name in _REFS} | {
            "position_type": "text",
            "new_path": one.path,
            "old_path": one.path,
            f"{one.side}_line": one.line,
        }
        fields = {"body": one.body, "position": position}
        await request(client, "POST", f"{path}/discussions", json=fields, timeout=left(deadline))


def _place(position: Mapping[str, Any]) -> tuple[str, str, int]:
    """Path, side and line of a remark."""
    side = "new" if position.get("new_line") is not None else "old"
    line = position.get(f"{side}_line")
    return text(position.get("new_path")), side, line if isinstance(line, int) else 0


async def _approve(client: Outbound, deadline: float, path: str) -> None:
    told = mapping(await request(client, "GET", f"{path}/approvals", timeout=left(deadline)))
    if told.get("user_has_approved") is True:
        return  # GitLab refuses a second one
    try:
        await request(client, "POST", f"{path}/approve", json={}, timeout=left(deadline))
    except UpstreamError as error:
        if error.status != _REFUSED:
            raise
        raise UpstreamError(
            f"{error} (this account may not approve it: its own merge request, or the project's "
            "approval rules)",
            status=403,
            retryable=False,
        ) from error


async def _take_back(client: Outbound, deadline: float, path: str) -> None:
    try:
        await request(client, "POST", f"{path}/unapprove", json={}, timeout=left(deadline))
    except UpstreamError as error:
        if error.status != _ABSENT:  # 404: we have not approved it
            raise


def _path(subject: Subject) -> str:
    if subject.kind != "pr":
        raise InvalidInputError("subject", "only merge requests are reviewed")
    return item_path(subject)
