"""Which JSON Schemas a tool's parameters may have: whole, valid, and pointing nowhere outside."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote


def check_parameters(value: dict[str, Any]) -> dict[str, Any]:
    """``value``, a JSON Schema of an object whose references stay within it, or empty.

    Raises:
        ValueError: it is none; the text says why, and holds nothing of it but names.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if not value:
        return value
    if value.get("type") != "object":
        raise ValueError('must be a JSON Schema with "type": "object"')
    try:
        Draft202012Validator.check_schema(value)
    except SchemaError as error:
        where = ".".join(map(str, error.absolute_path)) or "the schema"
        raise ValueError(f"must be a valid JSON Schema; {where[:200]} is not") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    for reference in _references(value):
        if not reference.startswith("#"):  # a validator would fetch it, from wherever it points
            raise ValueError("a $ref must stay within the schema, such as #/$defs/item")
        if not _leads_somewhere(value, reference):
            raise ValueError(f"$ref {reference[:200]} names nothing in the schema")
    return value


def _references(schema: Any) -> Iterator[str]:
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


def _leads_somewhere(schema: Any, reference: str) -> bool:
    if not reference.startswith("#/"):
        return reference == "#"  # anchors are not worth their rules
    found = schema
    for step in unquote(reference[2:]).split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return False
    return isinstance(found, dict | bool)
