"""GraphQL's side of aether.errors: every error carries a code, and a bug carries no text."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from graphql import GraphQLError
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.utils.str_converters import to_camel_case

from aether.db import UNAVAILABLE
from aether.errors import HTTP_STATUS, OUT_OF_REACH, AetherError, ErrorCode, InvalidInputError

log = logging.getLogger(__name__)

BUG: Final = "internal error"

GIVEN_VALUES: Final = (
    (re.compile(r"[,.]? [Ff]ound:? .*", re.DOTALL), "."),
    (re.compile(r"(cannot represent [^:]*): .*", re.DOTALL), r"\1"),
    (re.compile(r"Value '.*' does not exist in", re.DOTALL), "Value does not exist in"),
)
"""How graphql-core quotes what a client sent, which may be a secret in the wrong place."""

JSON_FIELDS: Final = frozenset({"credentials", "extract", "parameters"})
"""Inputs of the JSON scalar: what stands below them are names of the user's choosing."""


def finish_errors(errors: Iterable[GraphQLError]) -> None:
    """Give each error its code, in place; hide and log the text of a bug.

    Strawberry calls this for every result of every transport, streamed ones included. Errors
    that were finished before are left as they are, so nothing is logged twice.
    """
    for error in errors:
        match error.original_error:
            case AetherError() as ours:
                if isinstance(ours, InvalidInputError):
                    error.message = _in_graphqls_words(ours)
                error.extensions = {"code": ours.code}
            case InvalidOperationTypeError():
                error.extensions = {"code": ErrorCode.METHOD_NOT_ALLOWED}
            case None | GraphQLError():  # the request itself is wrong
                _settle_refusal(error)
            case lost if isinstance(lost, UNAVAILABLE):
                log.warning("out of reach at %s: %r", error.path or "the operation", lost)
                error.message = OUT_OF_REACH
                error.extensions = {"code": ErrorCode.UNAVAILABLE}
            case bug:
                _hide(error, bug)


def _in_graphqls_words(refused: InvalidInputError) -> str:
    """Its text with the field spelled as in the schema; use cases spell it as REST does."""
    first, *inner = refused.field.split(".")
    if first not in JSON_FIELDS:
        inner = [to_camel_case(name) for name in inner]
    field = ".".join((to_camel_case(first), *inner))
    return field + str(refused).removeprefix(refused.field)


def _settle_refusal(error: GraphQLError) -> None:
    if error.extensions and "code" in error.extensions:
        error.extensions = {"code": error.extensions["code"]}
        return
    for pattern, replacement in GIVEN_VALUES:
        error.message = pattern.sub(replacement, error.message)
    error.extensions = {"code": ErrorCode.INVALID_INPUT}


def _hide(error: GraphQLError, bug: Exception) -> None:
    if error.extensions == {"code": ErrorCode.INTERNAL}:
        return
    log.error("unhandled error at %s", error.path or "the operation", exc_info=bug)
    error.message = BUG
    error.extensions = {"code": ErrorCode.INTERNAL}


def code_of_status(status: int) -> ErrorCode:
    """The code of an answer that fails before any operation is run."""
    if status == HTTP_STATUS[ErrorCode.INVALID_INPUT]:
        return ErrorCode.INVALID_INPUT  # two codes share 400
    return next((code for code, at in HTTP_STATUS.items() if at == status), ErrorCode.INTERNAL)


def error_body(text: str, code: ErrorCode) -> dict[str, Any]:
    """What is answered when no operation was run: GraphQL's shape, without ``data``."""
    return {"errors": [{"message": text, "extensions": {"code": code}}]}


def refused_before_it_ran(answer: Mapping[str, Any]) -> int | None:
    """The status of an answer to an operation that was not run; None: it was run.

    An error of a field, also one that leaves no data at all, says where it stands.
    """
    errors = answer.get("errors") or ()
    if not errors or answer.get("data") is not None or any("path" in one for one in errors):
        return None
    return HTTP_STATUS[ErrorCode(errors[0]["extensions"]["code"])]
