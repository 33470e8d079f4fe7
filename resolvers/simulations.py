"""What a webhook would do if it came now: proof, meaning, tasks and prompts; nothing is kept."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from aether.engine import simulate as stage
from aether.engine.runtime import runtime
from aether.engine.simulate import Prospect
from aether.errors import (
    HTTP_STATUS,
    ErrorCode,
    InvalidInputError,
    NotFoundError,
    SignatureError,
)
from aether.proofs import Proof, webhook_proof, webhook_source
from aether.sources import get as get_source
from aether.sources.base import Source as Platform
from aether.vocabulary import SourceName
from resolvers.deliveries import verify_delivery
from resolvers.fields import Flag, Input

LONGEST_BODY: Final = 1_048_576
"""Characters; a request of ours holds no more anyway."""
MOST_HEADERS: Final = 200
LONGEST_HEADER: Final = 16_384


class SimulatedStatus(StrEnum):
    """What a delivery would be answered."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"  #: 401: nothing proves it.
    UNREADABLE = "unreadable"  #: 400: it is proven, and is no event of its source.


CODES: Final[Mapping[SimulatedStatus, ErrorCode]] = {
    SimulatedStatus.REFUSED: SignatureError.code,
    SimulatedStatus.UNREADABLE: InvalidInputError.code,
}
"""Of the answers that are errors."""


class SignatureVerdict(StrEnum):
    """What a delivery's signature is worth."""

    VERIFIED = "verified"
    UNSIGNED = "unsigned"  #: No secret is set, and ALLOW_UNSIGNED names the source.
    REFUSED = "refused"


def _headers(told: dict[str, str]) -> dict[str, str]:
    """Names in lower case, values as a web server gives them: their bytes as latin-1."""
    found: dict[str, str] = {}
    for name, value in told.items():
        lower = name.strip().lower()
        if lower in found:
            raise ValueError(f"{lower[:100]!r} is given twice")
        found[lower] = value.strip().encode().decode("latin-1")
    return found


Headers = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=LONGEST_HEADER)]],
    Field(max_length=MOST_HEADERS),
    AfterValidator(_headers),
]
Body = Annotated[str, StringConstraints(max_length=LONGEST_BODY)]


class NewSimulation(Input):
    """A delivery as its source would send it; a signature is over exactly these bytes."""

    slug: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    headers: Headers = {}
    body: Body | None = None
    body_base64: Body | None = None
    as_new: Flag = False

    @model_validator(mode="after")
    def _one_body(self) -> "NewSimulation":
        if (self.body is None) == (self.body_base64 is None):
            raise ValueError("give either body or body_base64")
        return self

    def content(self) -> bytes:
        """The body's bytes.

        Raises:
            InvalidInputError: ``body_base64`` is not base64.
        """
        if self.body_base64 is None:
            return (self.body or "").encode()
        try:
            return base64.b64decode("".join(self.body_base64.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInputError("body_base64", "must be base64") from None


@dataclass(frozen=True, kw_only=True)
class SimulatedSignature:
    """``setting``: where the secret is set, or would have to be; never the secret."""

    verdict: SignatureVerdict
    setting: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a delivery would be answered, and what would come of it.

    ``prospect`` says what would come of it once it is let in: with a refused signature that is
    what would happen if it were right. None: the body is no event of the source.
    """

    slug: str
    source: SourceName
    status: SimulatedStatus
    http_status: int
    reason: str | None
    signature: SimulatedSignature
    prospect: Prospect | None


async def simulate_delivery(told: NewSimulation) -> Simulation:
    """Say what ``POST /webhook/<slug>`` would do with this request; nothing of it is kept.

    Raises:
        NotFoundError: no source, mapping or integration has this slug.
        InvalidInputError: ``body_base64`` is not base64.
        UnavailableError: no process can be started for the jq programs.
    """
    body = told.content()
    name, site = await webhook_source(runtime().settings, told.slug)
    source = get_source(name)
    if source is None:
        raise NotFoundError("webhook", told.slug)
    signature = await _signature(source, told.slug, told.headers, body)
    unreadable = None
    prospect = None
    try:
        event = replace(source.extract(told.headers, body), site=site)
    except InvalidInputError as error:
        unreadable = str(error)
    else:
        prospect = await stage.simulate(runtime(), event, slug=told.slug, as_new=told.as_new)
    status, reason = _answered(signature, unreadable, prospect)
    return Simulation(
        slug=told.slug,
        source=name,
        status=status,
        http_status=HTTP_STATUS[CODES[status]] if status in CODES else 200,
        reason=reason,
        signature=signature,
        prospect=prospect,
    )


async def _signature(
    source: Platform, slug: str, headers: Mapping[str, str], body: bytes
) -> SimulatedSignature:
    proof: Proof | None = None
    try:
        proof = await webhook_proof(runtime().settings, slug)
        is_proven = verify_delivery(source, proof, headers, body)
    except SignatureError as error:
        setting = proof.setting if proof else None
        return SimulatedSignature(
            verdict=SignatureVerdict.REFUSED, setting=setting, reason=str(error)
        )
    if is_proven:
        return SimulatedSignature(
            verdict=SignatureVerdict.VERIFIED, setting=proof.setting, reason=None
        )
    return SimulatedSignature(
        verdict=SignatureVerdict.UNSIGNED,
        setting=proof.setting,
        reason=f"{proof.setting} is not set, and ALLOW_UNSIGNED lets {proof.source} in",
    )


def _answered(
    signature: SimulatedSignature, unreadable: str | None, prospect: Prospect | None
) -> tuple[SimulatedStatus, str | None]:
    if signature.verdict is SignatureVerdict.REFUSED:
        return SimulatedStatus.REFUSED, signature.reason
    if prospect is None:
        return SimulatedStatus.UNREADABLE, unreadable
    return SimulatedStatus(prospect.status), prospect.reason
