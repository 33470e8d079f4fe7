"""What the use cases of configuration do alike: look up, page, change, tell a taken key."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import AfterValidator, Field, StringConstraints
from tortoise.models import Model
from tortoise.queryset import QuerySet

from aether.clock import now
from aether.db import UniqueViolation
from aether.db import rows as run
from aether.errors import ConflictError, NotFoundError
from resolvers.fields import Input, Limit, Name, Offset, Page, SnakeId

LARGEST_ID: Final = 2**31 - 1
"""Of the tables of configuration; an id beyond it would be refused by the driver."""
LARGEST_LOG_ID: Final = 2**63 - 1
TOGETHER_BYTES: Final = 33_554_432
"""How much JSON one look-up by many keys gives, besides its last: 32 MiB. A payload alone may have
25, and a list 500 rows."""

_SNAKE_CASE: Final = get_args(SnakeId)[2:]  # all but its length
_NOT_BLANK: Final = get_args(Name)[2:]

KeyId = Annotated[str, StringConstraints(max_length=64), *_SNAKE_CASE]
"""An agent's or a task's id: snake_case, at most 64 characters."""
KeyRef = Annotated[str, StringConstraints(min_length=1, max_length=64), *_NOT_BLANK]
"""The id of an agent or a task that need not exist."""
Label = Annotated[str, StringConstraints(min_length=1, max_length=64), *_NOT_BLANK]
"""A capability, a category: 1 to 64 characters, kept as sent."""
Names = Annotated[list[Label], Field(max_length=200)]
"""Names of tools or capabilities; whether they exist is asked when they are used."""


def reachable(*paths: str) -> AfterValidator:
    """Of an id: it must not be one of the words that are paths of their own beside ``/{id}``."""

    def check(value: str) -> str:
        if value in paths:
            raise ValueError(f"must not be {value}, which is a path of its own")
        return value

    return AfterValidator(check)


class All(Input):
    """Which rows of a list of configuration: all of them, unless ``limit`` is given."""

    limit: Limit | None = None
    offset: Offset = 0


M = TypeVar("M", bound=Model)


def page(query: QuerySet[M], wanted: All | Page) -> QuerySet[M]:
    """``query`` cut to what is wanted; its order is the caller's."""
    query = query.offset(wanted.offset)
    return query if wanted.limit is None else query.limit(wanted.limit)


def criteria(wanted: All | Page) -> dict[str, Any]:
    """The filters that were given, by column."""
    return wanted.model_dump(exclude={"limit", "offset"}, exclude_none=True)


def absent(alias: str) -> Any:
    """``ABSENT`` for a field that the wire spells otherwise."""
    return Field(default_factory=lambda: None, alias=alias)


async def find(model: type[M], noun: str, id: int | str, *, largest: int = LARGEST_ID) -> M:
    """One row by its id.

    Raises:
        NotFoundError: nothing has it, or can have it.
    """
    if isinstance(id, int) and not 0 < id <= largest:
        raise NotFoundError(noun, id)
    found = await model.get_or_none(id=id)
    if found is None:
        raise NotFoundError(noun, id)
    return found


async def each(model: type[M], ids: Sequence[Any]) -> list[M | None]:
    """Rows by their ids, in the order of ``ids``; None: nothing has this one."""
    found = {one.pk: one for one in await model.filter(id__in=ids)}
    return [found.get(one) for one in ids]


PageOf = tuple[Any, int, int]
"""Of the rows that belong to the first, which: limit, offset."""


async def pages(
    model: type[M], column: str, keys: Sequence[PageOf], *, newest_first: bool
) -> list[list[M]]:
    """A page of the rows of each key, in the order of ``keys``; two statements for all of them.

    ``column`` holds the key.
    """
    if not keys:
        return []
    meta = model._meta  # noqa: SLF001 # documented by Tortoise
    kind = "text" if isinstance(keys[0][0], str) else "bigint"
    direction = "DESC" if newest_first else "ASC"
    picked = await run(
        f"""SELECT place, one.id
            FROM unnest($1::{kind}[], $2::bigint[], $3::bigint[]) WITH ORDINALITY
              AS wanted(key, most, skipped, place)
            CROSS JOIN LATERAL (
              SELECT id FROM {meta.db_table} WHERE {column} = wanted.key
              ORDER BY id {direction} LIMIT wanted.most OFFSET wanted.skipped
            ) AS one
            ORDER BY place, one.id {direction}""",  # noqa: S608 # our own names
        *(list(each_of) for each_of in zip(*keys, strict=True)),
    )
    found = {one.pk: one for one in await model.filter(id__in={one["id"] for one in picked})}
    told: list[list[M]] = [[] for _ in keys]
    for one in picked:
        if one["id"] in found:  # else it was deleted in between
            told[one["place"] - 1].append(found[one["id"]])
    return told


async def lock(model: type[M], noun: str, id: int | str) -> M:
    """One row by its id, locked for a change until the transaction ends.

    Raises:
        NotFoundError: nothing has it, or can have it.
    """
    if isinstance(id, int) and not 0 < id <= LARGEST_ID:
        raise NotFoundError(noun, id)
    found = await model.select_for_update(no_key=True).get_or_none(id=id)
    if found is None:
        raise NotFoundError(noun, id)
    return found


async def change(row: Model, changes: Input) -> dict[str, Any]:
    """Write what was sent and differs into a locked row.

    Gives ``changed``, ``before`` and ``after`` for the audit log, by the wire's names; empty, and
    nothing is written, where nothing differs.
    """
    sent = changes.model_dump(exclude_unset=True)
    changed = [name for name, value in sent.items() if getattr(row, name) != value]
    if not changed:
        return {}
    fields = type(changes).model_fields
    wire = {name: fields[name].alias or name for name in changed}
    detail = differences(row, {name: sent[name] for name in changed}, wire)
    for name in changed:
        setattr(row, name, sent[name])
    told = [*changed]
    if "updated_at" in row._meta.fields:  # noqa: SLF001 # Tortoise's documented way to a model's fields
        row.updated_at = now()
        told.append("updated_at")
    await row.save(update_fields=told)
    return detail


def differences(
    row: Model,
    after: Mapping[str, Any],
    wire: Mapping[str, str],
    *,
    secret: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """What the audit log keeps of a change that is to be written into ``row``.

    Args:
        wire: a column's name at REST, where it is another; no two need differ.
        secret: columns whose values are not told.
    """
    shown = [name for name in after if name not in secret]
    return {
        "changed": sorted({wire.get(name, name) for name in after}),
        "before": {wire.get(name, name): getattr(row, name) for name in shown},
        "after": {wire.get(name, name): after[name] for name in shown},
    }


def as_given(
    row: Model, new: type[Input], *, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What the audit log keeps of a row that is made or deleted: what ``new`` has, and is set."""
    given = {
        field.alias or name: getattr(row, name)
        for name, field in new.model_fields.items()
        if name not in without
    }
    return {name: value for name, value in given.items() if value not in (None, "", [], {})}


@contextmanager
def unique(text: str, **by_constraint: str) -> Iterator[None]:
    """Turn a taken unique key into a ConflictError. Stands around the transaction, not in it.

    ``by_constraint``: another text where the violated constraint's name holds the keyword.

    Raises:
        ConflictError: says ``text``.
    """
    try:
        yield
    except UniqueViolation as error:
        cause: Any = error.args[0] if error.args else None
        if getattr(cause, "sqlstate", None) != "23505":
            raise  # another constraint: a bug of ours
        name = getattr(cause, "constraint_name", None) or ""
        told = next((told for part, told in by_constraint.items() if part in name), text)
        raise ConflictError(told) from None
