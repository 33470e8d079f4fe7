"""Secrets as users send them: new ones, and the masks that we have shown in their place."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from aether.crypto import MASKED

IS_A_MASK: Final = "is a mask, not a secret"
LONGEST_SECRET: Final = 20_000  # a private key of 16,384 bits has 12,700 characters


def is_mask(value: str | None) -> bool:
    """Whether ``value`` is what we show in place of a secret."""
    return value is not None and value.startswith(MASKED)


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _no_mask(value: str) -> str:
    if is_mask(value):
        raise ValueError(IS_A_MASK)
    return value


_PATTERN: Final = Field(json_schema_extra={"pattern": r"\S"})
_LENGTH: Final = StringConstraints(min_length=1, max_length=LONGEST_SECRET)
SecretOrMask = Annotated[str, _LENGTH, AfterValidator(_not_blank), _PATTERN]
"""A new secret, or the mask that stands for the stored one, which stays."""
Secret = Annotated[str, _LENGTH, AfterValidator(_not_blank), AfterValidator(_no_mask), _PATTERN]
"""A new secret."""
