"""Deliveries: receive, list, read, replay."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from pydantic.types import Strict

from aether import proofs
from aether.db import rows
from aether.engine import receive as stage
from aether.engine.known_secrets import learn_stored
from aether.engine.receive import Receipt
from aether.engine.runtime import runtime
from aether.errors import AetherError, InvalidInputError, NotFoundError, SignatureError
from aether.events import SourceEvent
from aether.models import Delivery
from aether.proofs import Proof, webhook_proof
from aether.redact import Mask
from aether.sources import get as get_source
from aether.sources.base import Source as Platform
from aether.vocabulary import DeliveryStatus
from resolvers.fields import Page, Positive, Source
from resolvers.rows import LARGEST_LOG_ID, TOGETHER_BYTES, criteria, find, page
from resolvers.windows import NewestFirst, Slice, Window, cut

log = logging.getLogger(__name__)

LARGE: Final = ("event", "extracted", "payload")
LISTED: Final = tuple(
    name
    for name in sorted(Delivery._meta.db_fields)  # noqa: SLF001 # documented by Tortoise
    if name not in LARGE
)
TEXTS: Final = ("title", "actor", "reason")
"""What of these the platform's users may have written."""
Status = Annotated[DeliveryStatus, Strict(strict=False)]


LARGE_BODY_BYTES: Final = 16_384
"""From here on a thread costs less than what others would wait: markup can take a second a MB."""


async def receive_delivery(slug: str, headers: Mapping[str, str], body: bytes) -> Receipt:
    """Take one webhook in: verify it, store it once, start its tasks.

    ``headers``: names in lower case, values as received. ``body``: the bytes as received.

    Raises:
        NotFoundError: no source, mapping or integration has this slug.
        SignatureError: the delivery is not proven to come from the source. Nothing is stored.
        InvalidInputError: it is proven, but cannot be read. Nothing is stored.
        UnavailableError: the configuration kept changing.
    """
    proof = await webhook_proof(runtime().settings, slug)
    source = get_source(proof.source)
    if source is None:
        raise NotFoundError("webhook", slug)
    try:
        is_verified = verify_delivery(source, proof, headers, body)
        event = replace(await _read(source, headers, body), site=proof.site)
    except SignatureError as error:
        log.warning("a delivery to webhook %r was refused: %s", slug, error)
        raise
    except InvalidInputError as error:
        log.warning("a delivery to webhook %r cannot be read: %s", slug, error)
        raise
    return await stage.receive(runtime(), event, slug=slug, is_verified=is_verified)


async def _read(source: Platform, headers: Mapping[str, str], body: bytes) -> SourceEvent:
    """The event that ``body`` tells; a large one is read beside the event loop."""
    if len(body) < LARGE_BODY_BYTES:
        return source.extract(headers, body)
    return await asyncio.to_thread(source.extract, headers, body)


def verify_delivery(
    source: Platform, proof: Proof, headers: Mapping[str, str], body: bytes
) -> bool:
    """Whether the delivery is proven; False: let in by ALLOW_UNSIGNED, the operator's decision.

    Raises:
        SignatureError: neither; says why, or which setting is missing.
    """
    if proof.secret is not None:
        if proof.webhook.get("header"):
            proofs.verify(proof, headers, body, now=time.time())
        else:
            _verify_as_platform(source, proof, headers, body, proof.secret.get_secret_value())
        return True
    if not proof.lets_unsigned_in:
        raise SignatureError(
            f"{proof.setting} is not set, so no delivery of {proof.source} can be verified"
        )
    return False


def _verify_as_platform(
    source: Platform, proof: Proof, headers: Mapping[str, str], body: bytes, secret: str
) -> None:
    try:
        source.verify(headers, body, secret)
    except SignatureError as error:
        if proof.integration_id is None:
            raise
        # the source names the environment's setting, which has nothing to do with this slug
        text = re.sub(
            rf"{proof.source.upper()}_(?:WEBHOOK_SECRET|SIGNING_TOKEN)",
            lambda _: proof.setting,
            str(error),
        )
        raise SignatureError(text) from error


class DeliveryFilter(Page):
    """Which deliveries."""

    source: Source | None = None
    status: Status | None = None
    project_id: Positive | None = None


async def list_deliveries(wanted: DeliveryFilter) -> list[Delivery]:
    """Deliveries, newest first, without what may be large: payload, event and extracted."""
    query = Delivery.filter(**criteria(wanted)).order_by("-id")
    return await _shown(await page(query.only(*LISTED), wanted))


async def slice_deliveries(wanted: DeliveryFilter, part: Window) -> Slice[Delivery]:
    """A window on ``list_deliveries``; the filter's ``limit`` and ``offset`` do not count."""
    query = Delivery.filter(**criteria(wanted)).only(*LISTED)
    found = await cut(NewestFirst(query), part)
    await _shown(list(found.rows))
    return found


async def get_delivery(id: int) -> Delivery:
    """One delivery, whole, or NotFoundError."""
    found = await find(Delivery, "delivery", id, largest=LARGEST_LOG_ID)
    mask = await _mask()
    _mask_texts([found], mask)
    for name in LARGE:
        setattr(found, name, await asyncio.to_thread(mask.within, getattr(found, name)))
    return found


async def find_delivery(id: int) -> Delivery:
    """One delivery, as ``list_deliveries`` gives it, or NotFoundError."""
    [found] = await deliveries_of([id]) if 0 < id <= LARGEST_LOG_ID else [None]
    if found is None:
        raise NotFoundError("delivery", id)
    return found


async def deliveries_of(ids: list[int]) -> list[Delivery | None]:
    """Deliveries as ``list_deliveries`` gives them, in the order of ``ids``; None: no such one."""
    listed = await _shown(await Delivery.filter(id__in=ids).only(*LISTED))
    found = {one.id: one for one in listed}
    return [found.get(one) for one in ids]


async def _mask() -> Mask:
    """Takes every secret of ours out of what is shown: people write them into issues, too."""
    await learn_stored(runtime().settings)
    return Mask(runtime().settings)


async def _shown(found: list[Delivery]) -> list[Delivery]:
    """Deliveries as anybody may see them; what is stored stays as the platform told it."""
    if found:
        _mask_texts(found, await _mask())
    return found


def _mask_texts(found: Sequence[Delivery], mask: Mask) -> None:
    texts = [{name: getattr(one, name) for name in TEXTS} for one in found]
    for one, told in zip(found, mask.within(texts), strict=True):
        for name, text in told.items():
            setattr(one, name, text)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What may be large of a delivery."""

    event: dict[str, Any]
    extracted: dict[str, Any]
    payload: dict[str, Any]


_CONTENTS: Final = """
WITH sized AS (
  SELECT id, coalesce(sum(octet_length(payload::text)) OVER (
    ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) < $2 AS fits
  FROM delivery WHERE id = ANY($1::bigint[]))
SELECT id, fits, CASE WHEN fits THEN event END AS event,
  CASE WHEN fits THEN extracted END AS extracted, CASE WHEN fits THEN payload END AS payload
FROM sized JOIN delivery USING (id)
"""


async def contents_of(ids: list[int]) -> list[Content | AetherError]:
    """What is large of deliveries, in the order of ``ids``; integers of any size exact.

    An InvalidInputError stands where newer ones hold more than ``TOGETHER_BYTES`` already, a
    NotFoundError where there is no such delivery.
    """
    found = {one["id"]: one for one in await rows(_CONTENTS, ids, TOGETHER_BYTES)}
    mask = await _mask()
    return await asyncio.to_thread(lambda: [_content(one, found.get(one), mask) for one in ids])


def _content(id: int, found: Mapping[str, Any] | None, mask: Mask) -> Content | AetherError:
    if found is None:
        return NotFoundError("delivery", id)
    if not found["fits"]:
        return InvalidInputError("payload", "too much at once; ask for fewer deliveries")
    return Content(**{name: mask.within(json.loads(found[name])) for name in LARGE})


async def replay_delivery(id: int) -> Receipt:
    """Route a stored delivery once more, as a new one that names it, or NotFoundError."""
    if not 0 < id <= LARGEST_LOG_ID:
        raise NotFoundError("delivery", id)
    return await stage.replay(runtime(), id)
