"""Which JSON Schemas a tool's parameters may have, and how values are held to one.

Most were written by strangers: nothing that they point to is fetched, none of their patterns is
run, and a check ends though a few lines can ask for billions of steps.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

MOST_STEPS: Final = 50_000
"""Keywords looked at in one check of values, some 0.2 s; behind references they take longer."""
MOST_SECONDS: Final = 1.0  # of the processor, for such a check
SCHEMA_STEPS: Final = 200_000
SCHEMA_SECONDS: Final = 3.0  # the same for a schema itself; a plain one of 50,000 characters: 0.8
UNTRIED: Final = (
    "pattern",  # one of a stranger's can hold a process
    "patternProperties",  # also in additionalProperties, see below
    "unevaluatedItems",  # looks through all branches anew, and counts none of them
    "unevaluatedProperties",
)
"""What is left to the server whose schema it is."""


class TooInvolvedError(ValueError):
    """The schema asks for more than anybody should have to do, or leads nowhere."""


def check_parameters(value: dict[str, Any], *, is_foreign: bool = False) -> dict[str, Any]:
    """``value``, a JSON Schema of an object whose references stay within it, or empty.

    The patterns of a foreign one may be another language's: they are not run here.

    Raises:
        ValueError: it is none; the text says why, and holds nothing of it but names.
    """
    if not value:
        return value
    if value.get("type") != "object":
        raise ValueError('must be a JSON Schema with "type": "object"')
    kind = _bounded((), most_steps=SCHEMA_STEPS, most_seconds=SCHEMA_SECONDS)
    formats = None if is_foreign else kind.FORMAT_CHECKER
    try:
        problem = next(kind(kind.META_SCHEMA, format_checker=formats).iter_errors(value), None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except TooInvolvedError:
        raise ValueError("is too involved") from None
    if problem is not None:
        where = ".".join(map(str, problem.absolute_path)) or "the schema"
        raise ValueError(f"must be a valid JSON Schema; {where[:200]} is not")
    for reference in references(value):
        if not reference.startswith("#"):  # to another document, which nobody here has
            raise ValueError("a $ref must stay within the schema, such as #/$defs/item")
        if target(value, reference) is None:
            raise ValueError(f"$ref {reference[:200]} names nothing in the schema")
    return value


def problems(values: Any, schema: Mapping[str, Any], *, is_foreign: bool) -> list[Any]:
    """How ``values`` differ from what ``schema`` wants: jsonschema's errors, in a fixed order.

    ``is_foreign``: the schema was written by somebody outside; it is held to within bounds, and
    its patterns are not run.

    Raises:
        TooInvolvedError: that cannot be told.
    """
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind: Any = jsonschema.Draft202012Validator
    if is_foreign:
        kind = _bounded(UNTRIED, most_steps=MOST_STEPS, most_seconds=MOST_SECONDS)
    # A registry of its own knows no other document and fetches none: an "$id" within a schema can
    # make "#/…" an address elsewhere, and jsonschema's own would go there.
    checker = kind(dict(schema) or {"type": "object"}, registry=Registry())
    try:
        return sorted(checker.iter_errors(values), key=lambda one: list(map(str, one.path)))
    except (RecursionError, Unresolvable):
        raise TooInvolvedError("too involved") from None


def _bounded(untried: tuple[str, ...], *, most_steps: int, most_seconds: float) -> Any:
    """Draft 2020-12 for one check, which ends it in time."""
    import jsonschema

    steps = itertools.count(1)
    ends = time.thread_time() + most_seconds

    def counted(check: Callable[..., Any]) -> Callable[..., Any]:
        def step(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            if next(steps) > most_steps or time.thread_time() > ends:
                raise TooInvolvedError("too involved")
            return check(validator, value, instance, schema)

        return step

    plain: Any = jsonschema.Draft202012Validator
    own: dict[str, Callable[..., Any]] = {"uniqueItems": _unique}
    own |= dict.fromkeys(untried, _untried)
    if "patternProperties" in untried:
        own["additionalProperties"] = _additional
    kind: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        plain, {name: counted(check) for name, check in (plain.VALIDATORS | own).items()}
    )
    fields = [(one.alias, one.name) for one in kind.__attrs_attrs__ if one.init]

    def evolve(validator: Any, **changes: Any) -> Any:
        return kind(**{alias: getattr(validator, name) for alias, name in fields} | changes)

    # The library's own takes another class, without these bounds, where a schema names "$schema".
    kind.evolve = evolve
    return kind


def _untried(*_: Any) -> None:
    """No error."""


def _unique(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[Any]:
    """As jsonschema's own, which compares each with each."""
    from jsonschema import ValidationError

    if wanted and validator.is_type(instance, "array"):
        told = [json.dumps(one, sort_keys=True) for one in instance]
        if len(set(told)) < len(told):
            yield ValidationError("has non-unique elements")


def _additional(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """As jsonschema's own, but beside ``patternProperties``, whose patterns it would run."""
    import jsonschema

    if "patternProperties" not in schema:
        check = jsonschema.Draft202012Validator.VALIDATORS["additionalProperties"]
        yield from check(validator, wanted, instance, schema)


def references(schema: Any) -> Iterator[str]:
    """What the schema points to, in no order."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from (
                one[key] for key in ("$ref", "$dynamicRef") if isinstance(one.get(key), str)
            )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def target(schema: Any, reference: str) -> Any:
    """The schema within this one that is pointed to; None: there is none."""
    if not reference.startswith("#/"):
        return schema if reference == "#" else None  # anchors are not worth their rules
    found = schema
    for step in unquote(reference[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found if isinstance(found, dict | bool) else None
