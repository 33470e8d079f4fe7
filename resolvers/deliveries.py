"""Deliveries: receive, list, read, replay."""

import logging
from collections.abc import Mapping

from aether.credentials import Proof, webhook_proof
from aether.engine import receive as stage
from aether.engine.receive import Receipt
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, NotFoundError, SignatureError
from aether.models import Delivery
from aether.sources import get as get_source
from aether.sources.base import Source
from aether.vocabulary import DeliveryStatus, SourceName

log = logging.getLogger(__name__)


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
        is_verified = _verify(source, proof, headers, body)
        event = source.extract(headers, body)
    except SignatureError as error:
        log.warning("a delivery to /webhook/%s was refused: %s", slug, error)
        raise
    except InvalidInputError as error:
        log.warning("a delivery to /webhook/%s cannot be read: %s", slug, error)
        raise
    return await stage.receive(runtime(), event, slug=slug, is_verified=is_verified)


def _verify(source: Source, proof: Proof, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the delivery is proven; False: let in by ALLOW_UNSIGNED, the operator's decision."""
    if proof.secret is not None:
        source.verify(headers, body, proof.secret.get_secret_value())
        return True
    if not proof.allows_unsigned:
        raise SignatureError(
            f"{proof.setting} is not set, so no delivery of {proof.source} can be verified"
        )
    return False


async def list_deliveries(
    *,
    limit: int = 50,
    offset: int = 0,
    source: SourceName | None = None,
    status: DeliveryStatus | None = None,
    project_id: int | None = None,
) -> list[Delivery]:
    """Deliveries, newest first."""
    wanted = {"source": source, "status": status, "project_id": project_id}
    chosen = {name: value for name, value in wanted.items() if value is not None}
    return await Delivery.filter(**chosen).order_by("-id").offset(offset).limit(limit)


async def get_delivery(delivery_id: int) -> Delivery:
    """One delivery, or NotFoundError."""
    found = await Delivery.get_or_none(id=delivery_id)
    if found is None:
        raise NotFoundError("delivery", delivery_id)
    return found


async def replay_delivery(delivery_id: int) -> Receipt:
    """Route a stored delivery once more, as a new one that names it, or NotFoundError."""
    return await stage.replay(runtime(), delivery_id)
