"""A model's arguments for a tool: read, and held to the tool's schema within a bound of steps."""

import json
from collections.abc import Mapping
from typing import Any

from aether.errors import InvalidInputError
from aether.llm.chat import CUT_OFF
from aether.sources.reading import decode_json
from aether.tools.mcp_parameters import told_arguments
from aether.tools.schemas import TooInvolvedError, problems


class BadArgumentsError(Exception):
    """The arguments are not what the tool takes; the text is for the model."""


def read_arguments(
    raw: Any, schema: Mapping[str, Any], *, is_foreign: bool = False
) -> dict[str, Any]:
    """The arguments as the schema wants them; empty text, null and nothing mean ``{}``.

    ``is_foreign``: the schema was written by somebody outside, and its patterns are not run. The
    model was shown ``offered_parameters`` of it.

    Raises:
        BadArgumentsError: it is not JSON, not an object, or not what the schema says.
    """
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        values: dict[str, Any] = {}
    else:
        text = raw if isinstance(raw, str) else json.dumps(raw)
        if text.endswith(CUT_OFF):
            raise BadArgumentsError(
                "arguments: your reply reached the output limit before their end; call again, and "
                "write less at once. The tool was not run."
            )
        try:
            values = decode_json(text.encode(errors="replace"), field="arguments")
        except InvalidInputError as error:
            raise BadArgumentsError(f"{error}. The tool was not run.") from error
    if is_foreign:
        values = told_arguments(schema, values)
    try:
        found = problems(values, schema, is_foreign=is_foreign)
    except TooInvolvedError:
        raise BadArgumentsError(
            "they cannot be checked: the tool's schema is too involved. The tool was not run."
        ) from None
    if found:
        told = "; ".join(_problem(one) for one in found[:5])
        raise BadArgumentsError(f"{told}. The tool was not run.")
    return values


def _problem(error: Any) -> str:
    where = ".".join(map(str, error.path)) or "arguments"
    return f"{where}: {error.message[:300]}"
