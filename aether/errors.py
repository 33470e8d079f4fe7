"""Every failure Aether raises on purpose, and what a client is told about it.

Resolvers and engine stages raise these and know no transport. The doors read ``code``:
rest_compat turns it into a status with ``HTTP_STATUS``, schema sends it as
``extensions.code``. Anything else that escapes is a bug: both doors answer INTERNAL, hide
the text and log the traceback. A text is safe to show a client: it holds no secret.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar, Final


class ErrorCode(StrEnum):
    """The closed set of codes that both doors speak."""

    INVALID_INPUT = "INVALID_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    CONFLICT = "CONFLICT"
    TOO_LARGE = "TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


HTTP_STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.INVALID_INPUT: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.NOT_CONFIGURED: 400,
    ErrorCode.UPSTREAM_FAILED: 502,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}


OUT_OF_REACH: Final = "the database or the queue is out of reach; try again"
"""What both doors say when a driver's own error means that."""


class AetherError(Exception):
    """Base of every expected failure; its text is safe to show a client."""

    code: ClassVar[ErrorCode]
    retryable: bool = False  # would the same call succeed later?
    retry_after: float | None = None  # seconds the far side asked us to wait


class InvalidInputError(AetherError):
    """A request that cannot be read or is not valid; names the field."""

    code = ErrorCode.INVALID_INPUT

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class SignatureError(AetherError):
    """A delivery whose origin is not proven."""

    code = ErrorCode.UNAUTHENTICATED


class UnauthenticatedError(AetherError):
    """A caller without the API token."""

    code = ErrorCode.UNAUTHENTICATED


class ForbiddenError(AetherError):
    """A caller that may not do this, or a foreign Host."""

    code = ErrorCode.FORBIDDEN


class NotFoundError(AetherError):
    """Nothing has this id."""

    code = ErrorCode.NOT_FOUND

    def __init__(self, noun: str, key: object) -> None:
        super().__init__(f"{noun} {key!r} not found")


class ConflictError(AetherError):
    """It exists already, or is not in a state that allows this."""

    code = ErrorCode.CONFLICT


class TooLargeError(AetherError):
    """A body over its limit."""

    code = ErrorCode.TOO_LARGE


class RateLimitedError(AetherError):
    """Too much at once, or a reader that is too slow for what it asked for."""

    code = ErrorCode.RATE_LIMITED


class NotConfiguredError(AetherError):
    """A setting is missing or wrong; the text names it."""

    code = ErrorCode.NOT_CONFIGURED


class UnavailableError(AetherError):
    """The database or the queue is out of reach."""

    code = ErrorCode.UNAVAILABLE
    retryable = True


class UpstreamError(AetherError):
    """A platform, a model provider or an MCP server failed."""

    code = ErrorCode.UPSTREAM_FAILED

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        retryable: bool = True,
        retry_after: float | None = None,
        may_have_happened: bool = False,
    ) -> None:
        """``may_have_happened``: the call was sent and its outcome is not known."""
        super().__init__(text)
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after
        self.may_have_happened = may_have_happened


class LeaseLostError(AetherError):
    """Another worker holds this execution now; whatever we were about to write is void."""

    code = ErrorCode.CONFLICT


class CancelledRunError(AetherError):
    """The execution was cancelled while it ran."""

    code = ErrorCode.CONFLICT


class SwitchedOffError(CancelledRunError):
    """The execution's task or project was disabled before it began; the text says which."""
