"""Poll sources: list, read, create, change, delete, and ask for a poll now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, Strict

from aether import audit, sources
from aether.db import row, rows, transaction
from aether.engine.runtime import runtime
from aether.errors import ConflictError, InvalidInputError, NotFoundError
from aether.models import PollSource, Project
from aether.queue import Job
from aether.vocabulary import PollStatus, SourceName
from resolvers.fields import ABSENT, INTEGRAL, Flag, Input, Positive, Source
from resolvers.projects import SourceProjectId
from resolvers.rows import (
    LARGEST_ID,
    All,
    absent,
    as_given,
    change,
    criteria,
    find,
    lock,
    page,
    unique,
)

Minutes = Annotated[int, Strict(), Field(ge=1, le=10_080), INTEGRAL]
"""Between two polls: a minute to a week."""
NOUN: Final = "poll source"


class NewPollSource(Input):
    """A poll source to create."""

    source: Source
    source_project_id: SourceProjectId = Field(alias="project_id")
    interval_minutes: Minutes = 5
    enabled: Flag = True
    integration_id: Positive | None = None


class PollSourceChanges(Input):
    """What to change of a poll source; what is absent stays.

    It goes on from where it stood, unless it is given another source or project: then it begins
    anew, from that moment.
    """

    source: Source = ABSENT
    source_project_id: SourceProjectId = absent("project_id")
    interval_minutes: Minutes = ABSENT
    enabled: Flag = ABSENT
    integration_id: Positive | None = ABSENT


class PollSourceFilter(All):
    """Which poll sources."""

    source: Source | None = None
    enabled: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class WantedPoll:
    """A poll that was asked for."""

    poll_source_id: int
    status: PollStatus


async def list_poll_sources(wanted: PollSourceFilter) -> list[PollSource]:
    """Poll sources, oldest first."""
    return await page(PollSource.filter(**criteria(wanted)).order_by("id"), wanted)


async def get_poll_source(id: int) -> PollSource:
    """One poll source, or NotFoundError."""
    return await find(PollSource, NOUN, id)


async def projects_named(names: Sequence[tuple[SourceName, str]]) -> list[Project | None]:
    """Our row for each (source, source project id), in their order; None: there is none."""
    found = await rows(
        """SELECT id, source, lower(source_project_id) AS name FROM project
           WHERE (source, lower(source_project_id)) IN
             (SELECT source, lower(name) FROM unnest($1::text[], $2::text[]) AS t(source, name))
           ORDER BY id DESC""",
        [source.value for source, _ in names], [name for _, name in names],
    )  # fmt: skip
    ids = {(one["source"], one["name"]): int(one["id"]) for one in found}
    known = {one.id: one for one in await Project.filter(id__in=list(ids.values()))}
    return [known.get(ids.get((source.value, name.lower()), 0)) for source, name in names]


async def create_poll_source(new: NewPollSource) -> PollSource:
    """Create a poll source; its first poll is due at once and looks back a set time.

    Raises:
        InvalidInputError: the source cannot be polled; the integration does not exist, or is for
            another source.
        ConflictError: the source's project is polled already.
    """
    _check_source(new.source)
    taken = f"{new.source} project {new.source_project_id!r} already has a poll source"
    with unique(taken):
        async with transaction():
            await _check_integration(new.source, new.integration_id)
            one = await PollSource.create(**new.model_dump())
            await rows(
                """UPDATE poll_source SET begins_at = now(), next_poll_at = now()
                   WHERE id = $1""",
                one.id,
            )
            await one.refresh_from_db()
            await _record("created", one, after=as_given(one, NewPollSource))
    return one


async def update_poll_source(id: int, changes: PollSourceChanges) -> PollSource:
    """Change a poll source; where it stands is kept, unless it is given another project.

    Raises:
        NotFoundError: there is no such poll source.
        InvalidInputError, ConflictError: as for creation.
    """
    with unique("another poll source already has this source and project_id"):
        async with transaction():
            one = await lock(PollSource, NOUN, id)
            sent = changes.model_dump(exclude_unset=True)
            source = sent.get("source", one.source)
            _check_source(source)
            await _check_integration(source, sent.get("integration_id", one.integration_id))
            changed = await change(one, changes)
            if changed:
                is_new = bool({"source", "project_id"} & changed["after"].keys())
                await _follow(one, changed["changed"], begins_anew=is_new)
                await one.refresh_from_db()
                detail = {"begins_anew": True} if is_new else {}
                await _record("updated", one, **changed, **detail)
    return one


async def delete_poll_source(id: int) -> None:
    """Delete a poll source, or NotFoundError; a poll under way ends and saves nothing."""
    if not 0 < id <= LARGEST_ID:
        raise NotFoundError(NOUN, id)
    async with transaction():
        one = await lock(PollSource, NOUN, id)
        await one.delete()
        await _record("deleted", one, before=as_given(one, NewPollSource))


async def poll_now(id: int) -> WantedPoll:
    """Ask for a poll now, whether the source is enabled or not; the schedule stays as it is.

    Raises:
        NotFoundError: there is no such poll source.
        ConflictError: a poll of it is queued or under way.
    """
    if not 0 < id <= LARGEST_ID:
        raise NotFoundError(NOUN, id)
    async with transaction():
        taken = await row(
            """UPDATE poll_source SET requested_at = now(), enqueued_at = now()
               WHERE id = $1 AND requested_at IS NULL
                 AND (lease_until IS NULL OR lease_until < now())
               RETURNING id""",
            id,
        )
        if taken is None:
            one = await find(PollSource, NOUN, id)
            raise ConflictError(f"{NOUN} {id} is being polled (it is {one.status})")
        await audit.record("poll_source.polled", caller="api", detail={"poll_source_id": id})
    runtime().queue.hint(Job.POLL_SOURCE, [id])
    return WantedPoll(poll_source_id=id, status=PollStatus.QUEUED)


def _check_source(source: SourceName) -> None:
    known = sources.polled_names()
    if source.value not in known:
        raise InvalidInputError(
            "source", f"{source.value} cannot be polled; one of {', '.join(known)}"
        )


async def _check_integration(source: SourceName, integration_id: int | None) -> None:
    """Hold what is referred to until the transaction ends."""
    if integration_id is None:
        return
    found = await row("SELECT source FROM integration WHERE id = $1 FOR KEY SHARE", integration_id)
    if found is None:
        raise InvalidInputError("integration_id", f"integration {integration_id} does not exist")
    if found["source"] != source.value:
        raise InvalidInputError(
            "integration_id", f"integration {integration_id} is for {found['source']}"
        )


_BEGIN_ANEW: Final = """
UPDATE poll_source
SET cursor = '{}', begins_at = now(), last_polled_at = NULL, next_poll_at = now(), failures = 0,
  error = NULL, lease_token = lease_token + 1, lease_until = NULL, requested_at = NULL,
  enqueued_at = NULL
WHERE id = $1
"""
_GO_ON: Final = """
UPDATE poll_source
SET failures = CASE WHEN $2 THEN 0 ELSE failures END,
  next_poll_at = CASE WHEN $2 THEN now()
    ELSE least(next_poll_at, now() + make_interval(mins => interval_minutes)) END,
  requested_at = CASE WHEN $3 AND (lease_until IS NULL OR lease_until < now()) THEN NULL
    ELSE requested_at END
WHERE id = $1
"""


async def _follow(one: PollSource, changed: Sequence[str], *, begins_anew: bool) -> None:
    """What a change means for the next poll; a changed project takes it from a poll under way."""
    if begins_anew:
        await rows(_BEGIN_ANEW, one.id)
        return
    is_worth_a_try = "integration_id" in changed or ("enabled" in changed and one.enabled)
    is_switched_off = "enabled" in changed and not one.enabled
    await rows(_GO_ON, one.id, is_worth_a_try, is_switched_off)


async def _record(what: str, one: PollSource, **detail: Any) -> None:
    told = {"poll_source_id": one.id, "source": one.source.value}
    told |= {"project_id": one.source_project_id, **detail}
    await audit.record(f"poll_source.{what}", caller="api", detail=told)
