"""What a model's provider is shown of a foreign schema, and the way back to the server's own words.

Pure. Providers take less than JSON Schema, and one tool that they refuse spoils every request:
OpenAI wants ``properties``, ``items``, and no branches at the top; Anthropic neither, nor names of
properties beyond ``[A-Za-z0-9_.-]{1,64}``. What is left out here is still held to before a call is
sent.
https://platform.openai.com/docs/guides/function-calling
https://github.com/makenotion/notion-mcp-server/issues/340
https://github.com/IBM-Cloud/ibm-cloud-cli-release/issues/226
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from aether.tools.schemas import references, target

LONGEST_NAME: Final = 64
LONGEST_NOTE: Final = 500
MOST_KINDS: Final = 20  # of one property, as branches tell it; beyond, it may be anything
BRANCHES: Final = ("allOf", "anyOf", "oneOf", "then", "else", "dependentSchemas")
NOT_AT_THE_TOP: Final = frozenset({*BRANCHES, "$ref", "if", "not", "enum", "const"})

_ANYTHING: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def offered_parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``schema``, of an object, in a form that every provider takes; the same where it is one.

    Branches at its top are folded into it: what one of them may hold is offered, what all of them
    need is required, and what each needs is said in words.
    """
    try:
        shown = _shown(schema)
    except RecursionError:  # $refs that lead through a thousand others
        return dict(_ANYTHING)
    pointed = all(target(shown, one) is not None for one in references(shown))
    return shown if pointed else dict(_ANYTHING)  # into what is folded


def told_arguments(schema: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` of a call under the names that the server knows; others stay as they are."""
    try:
        names = _names(_flat(schema, schema, set())[0])
    except RecursionError:
        return dict(values)
    return {names.get(name, name): one for name, one in values.items()}


def _shown(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties, required = _flat(schema, schema, set())
    names = {told: name for name, told in _names(properties).items()}
    shown = {name: one for name, one in schema.items() if name not in NOT_AT_THE_TOP}
    shown["properties"] = {
        names[told]: one if isinstance(one, dict) else {} for told, one in properties.items()
    }
    shown.pop("required", None)
    if needed := [names[told] for told in dict.fromkeys(required) if told in properties]:
        shown["required"] = needed
    if note := _note(schema, names):
        shown["description"] = " ".join(filter(None, [str(schema.get("description", "")), note]))
    whole: dict[str, Any] = _with_items(shown)
    return whole


def _flat(
    part: Any, whole: Mapping[str, Any], followed: set[str]
) -> tuple[dict[str, Any], list[str]]:
    """What an object may hold and what it must, with all branches; each $ref is followed once."""
    if not isinstance(part, Mapping):
        return {}, []
    own = part.get("properties")
    properties: dict[str, Any] = dict(own) if isinstance(own, Mapping) else {}
    required = _texts(part.get("required"))
    reference = part.get("$ref")
    if isinstance(reference, str) and reference not in followed:
        followed.add(reference)
        held, needed = _flat(target(whole, reference), whole, followed)
        _join(properties, held)
        required += needed
    for word in BRANCHES:
        found = [_flat(one, whole, followed) for one in _branches(part, word)]
        for held, _ in found:
            _join(properties, held)
        if word == "allOf":
            required += [name for _, needed in found for name in needed]
        elif found and word in {"anyOf", "oneOf"}:
            required += [name for name in found[0][1] if all(name in needed for _, needed in found)]
    return properties, required


def _join(properties: dict[str, Any], more: Mapping[str, Any]) -> None:
    """A property that branches tell differently may be any of that."""
    for name, one in more.items():
        before = properties.setdefault(name, one)
        if before == one:
            continue
        kinds = before["anyOf"] if isinstance(before, dict) and list(before) == ["anyOf"] else None
        kinds = kinds or [before]
        if one not in kinds:
            properties[name] = {"anyOf": [*kinds, one]} if len(kinds) < MOST_KINDS else {}


def _branches(part: Mapping[str, Any], word: str) -> list[Any]:
    told = part.get(word)
    if word == "dependentSchemas":
        return list(told.values()) if isinstance(told, Mapping) else []
    if isinstance(told, list):
        return told
    return [] if told is None else [told]


def _names(properties: Mapping[str, Any]) -> dict[str, str]:
    """What the model calls each property, to what it is called: the same for the same schema."""
    names = {told: told for told in properties if _PLAIN.fullmatch(told)}
    numbers: dict[str, itertools.count[int]] = {}
    for told in properties:
        if _PLAIN.fullmatch(told):
            continue
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", told).strip("_")[: LONGEST_NAME - 8] or "value"
        name = plain
        while name in names:
            name = f"{plain}_{next(numbers.setdefault(plain, itertools.count(2)))}"
        names[name] = told
    return names


def _note(schema: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What the branches at the top need, in words."""
    notes = []
    for word, some in (("anyOf", "at least one"), ("oneOf", "exactly one")):
        needed = [_flat(one, schema, set())[1] for one in _branches(schema, word)]
        told = [[names.get(name, name) for name in one] for one in needed]
        if len(told) > 1 and all(told):
            notes.append(f"Give {some} of: {'; '.join(' and '.join(one) for one in told)}.")
    return " ".join(notes)[:LONGEST_NOTE]


def _with_items(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_items(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    shown = {name: _with_items(one) for name, one in value.items()}
    kind = value.get("type")
    if "items" not in value and (kind == "array" or (isinstance(kind, list) and "array" in kind)):
        shown["items"] = {}
    return shown


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
