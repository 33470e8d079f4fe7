"""Reads what Plane's ages spell in different ways: references, people, states, nothing at all."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aether.events import Actor
from aether.sources.reading import key, mapping, sequence, text

CLOSED_GROUPS: Final = frozenset({"completed", "cancelled"})
"""Of states; what a state is called is free."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BOT_MAIL: Final = re.compile(r"bot_user_[0-9a-f-]{36}@plane\.so", re.IGNORECASE)
_NOTHING: Final = frozenset({"", "none", "null"})


def uuid(value: object) -> str | None:
    """A UUID in lower case, or None."""
    told = text(value).strip()
    return told.lower() if _UUID.fullmatch(told) else None


def reference(value: object) -> str | None:
    """The id of what a field refers to: told as the id, or as an object that has it.

    v2 writes what is not set as the text "None".
    """
    told = key(mapping(value).get("id") if isinstance(value, dict) else value)
    if told is None or told.lower() in _NOTHING:
        return None
    return uuid(told) or told


def is_set(value: object) -> bool:
    """Whether a field holds something."""
    return value is not None and text(value).strip().lower() not in _NOTHING


def words(value: object) -> str:
    """A text, empty where v2 writes "None" for it."""
    return text(value) if is_set(value) else ""


def first(data: Mapping[str, Any], *names: str) -> str | None:
    """The id of the first of these fields that refers to something."""
    return next((one for name in names if (one := reference(data.get(name)))), None)


def name_of(person: object) -> str | None:
    """How a person is called: the display name, else the whole name, else the id."""
    told = mapping(person)
    whole = " ".join(text(told.get(one)).strip() for one in ("first_name", "last_name")).strip()
    return text(told.get("display_name")).strip() or whole or reference(person)


def spellings(person: object) -> frozenset[str]:
    """Every way in which a person may be named, case folded."""
    told = mapping(person)
    whole = " ".join(text(told.get(one)).strip() for one in ("first_name", "last_name"))
    names = (told.get("display_name"), told.get("email"), told.get("id"), whole)
    return frozenset(text(one).strip().casefold() for one in names) - {""}


def is_bot(person: object) -> bool:
    """Whether it is one of Plane's own accounts; deliveries hardly ever tell, keys never."""
    told = mapping(person)
    return told.get("is_bot") is True or bool(_BOT_MAIL.fullmatch(text(told.get("email"))))


def actor(person: object) -> Actor | None:
    """Who did it, or None where nobody is told."""
    name = name_of(person)
    if name is None:
        return None
    return Actor(login=name, is_bot=is_bot(person), id=reference(person))


def group(data: Mapping[str, Any]) -> str:
    """The group of an item's state, empty where it is not told."""
    told = mapping(data.get("state")).get("group")
    names = ("state__group", "state_group")
    return text(told) or next((one for name in names if (one := text(data.get(name)))), "")


def state_name(data: Mapping[str, Any]) -> str | None:
    """What an item's state is called."""
    return text(mapping(data.get("state")).get("name")) or None


def label_names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of an item's labels, as far as they are told."""
    told = (mapping(one).get("name") for one in sequence(data.get("labels")))
    return tuple(one for one in map(text, told) if one)


def ids(value: object) -> list[str]:
    """The ids in a list of references."""
    return [one for one in map(reference, sequence(value)) if one]
