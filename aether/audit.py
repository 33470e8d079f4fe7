"""Writes the audit log: one row an act, in the transaction of what it tells of."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final

from aether.clock import to_wire
from aether.crypto import MASKED
from aether.db import rows
from aether.redact import Mask
from aether.rendering import clean

MAX_CHARACTERS: Final = 2000
MAX_ITEMS: Final = 100
MAX_DEPTH: Final = 8
LONGEST_ORIGIN: Final = 200
SECRET_WORDS: Final = frozenset(
    {
        "token", "tokens", "secret", "secrets", "password", "passwd", "passphrase", "authorization",
        "credential", "credentials", "cookie", "bearer", "apikey",
    }
)  # fmt: skip
KEY_KINDS: Final = frozenset(
    {"access", "api", "auth", "client", "encryption", "private", "secret", "signing", "ssh"}
)

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


_origin: ContextVar[str | None] = ContextVar("audit_origin", default=None)


@contextmanager
def coming_from(origin: str | None) -> Iterator[None]:
    """Who calls within the block comes from there: a door and an address, ``rest 127.0.0.1``."""
    token = _origin.set(clean(origin)[:LONGEST_ORIGIN] if origin else None)
    try:
        yield
    finally:
        _origin.reset(token)


def origin() -> str | None:
    """Where the caller at hand comes from; None where nobody calls."""
    return _origin.get()


async def record(
    action: str,
    *,
    agent_id: str | None = None,
    execution_id: int | None = None,
    delivery_id: int | None = None,
    caller: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry; takes part in an open transaction.

    What is told of an execution belongs to the delivery that started it, unless another is told.
    ``caller`` is ``api`` for people and programs, None for ourselves; where they come from is told
    along (``coming_from``). In ``detail`` known secrets are taken out, since no entry can ever be
    mended; the values of keys that name a secret are masked at any depth, long texts are cut at
    2,000 characters and long lists at 100 items, and what no database stores is removed.
    """
    told = _safe(detail or {}, 0, Mask())
    await rows(
        "INSERT INTO audit_entry"
        " (action, agent_id, execution_id, delivery_id, caller, origin, detail)"
        " VALUES ($1, $2, $3, coalesce($4, (SELECT delivery_id FROM task_execution WHERE id = $3)),"
        " $5, $6, $7::text::jsonb)",
        action,
        agent_id,
        execution_id,
        delivery_id,
        caller,
        _origin.get() if caller else None,
        json.dumps(told, ensure_ascii=False),
    )


def names_a_secret(key: str) -> bool:
    """Whether a value under ``key`` is one: ``apiKey``, ``X-Token``; not ``project_key``."""
    words = [word.lower() for word in _WORD.findall(key)]
    if SECRET_WORDS & set(words):
        return True
    return words[-1:] == ["key"] and (len(words) == 1 or words[-2] in KEY_KINDS)


def _safe(value: Any, depth: int, mask: Mask) -> Any:
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        kept = list(value.items())[:MAX_ITEMS]
        return {clean(str(key)): _safe_under(str(key), one, depth, mask) for key, one in kept}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(one, depth + 1, mask) for one in list(value)[:MAX_ITEMS]]
    if isinstance(value, str):
        text = mask.whole(clean(value))  # before it is cut: half a secret is not known
        return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    return to_wire(value) if isinstance(value, datetime) else str(value)


def _safe_under(key: str, value: Any, depth: int, mask: Mask) -> Any:
    # A number under such a name is a count, as in prompt_tokens; a secret is text.
    if names_a_secret(key) and value is not None and not isinstance(value, bool | int | float):
        return MASKED
    return _safe(value, depth + 1, mask)
