"""A model's arguments for a tool: read, and held to the tool's schema within a bound of steps."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from aether.errors import InvalidInputError
from aether.llm.chat import CUT_OFF
from aether.sources.reading import decode_json

MOST_STEPS: Final = 50_000
"""Keywords looked at in one check, some 0.2 s. A schema of a few lines can ask for billions."""
UNTRIED: Final = ("pattern", "patternProperties")
"""What is left to the server whose schema it is: one pattern of a stranger's can hold a process."""


class BadArgumentsError(Exception):
    """The arguments are not what the tool takes; the text is for the model."""


class _TooManyStepsError(Exception):
    """The schema asks for more than anybody should have to do."""


def read_arguments(
    raw: Any, schema: Mapping[str, Any], *, is_foreign: bool = False
) -> dict[str, Any]:
    """The arguments as the schema wants them; empty text, null and nothing mean ``{}``.

    ``is_foreign``: the schema was written by somebody outside, and its patterns are not run.

    Raises:
        BadArgumentsError: it is not JSON, not an object, or not what the schema says.
    """
    import jsonschema

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
    kind = _bounded() if is_foreign else jsonschema.Draft202012Validator
    checker = kind(dict(schema) or {"type": "object"})
    try:
        problems = sorted(checker.iter_errors(values), key=lambda one: list(map(str, one.path)))
    except (_TooManyStepsError, RecursionError):
        raise BadArgumentsError(
            "they cannot be checked: the tool's schema is too involved. The tool was not run."
        ) from None
    if problems:
        told = "; ".join(_problem(one) for one in problems[:5])
        raise BadArgumentsError(f"{told}. The tool was not run.")
    return values


def _problem(error: Any) -> str:
    where = ".".join(map(str, error.path)) or "arguments"
    return f"{where}: {error.message[:300]}"


def _bounded() -> Any:
    """Draft 2020-12 for one check, which ends it after ``MOST_STEPS``."""
    import jsonschema

    left = itertools.count(MOST_STEPS, -1)

    def counted(check: Callable[..., Any]) -> Callable[..., Any]:
        def step(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            if next(left) <= 0:
                raise _TooManyStepsError
            return check(validator, value, instance, schema)

        return step

    plain: Any = jsonschema.Draft202012Validator
    checks = {name: counted(check) for name, check in plain.VALIDATORS.items()}
    return jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        plain, checks | dict.fromkeys(UNTRIED, _untried)
    )


def _untried(*_: Any) -> None:
    """No error."""
