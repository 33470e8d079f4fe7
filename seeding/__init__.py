"""Reads the YAML files that a fresh installation starts with; the only importer of yaml."""

from collections.abc import Hashable
from importlib.resources import files
from typing import Any, Final

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # libyaml's: 5 ms a file, not 45, in the event loop
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "agents": ("id",),
    "capabilities": ("agent_id", "capability"),
    "tasks": ("id",),
    "trigger_task_mappings": ("canonical_trigger", "task_id"),
    "source_event_mappings": ("source", "event_name", "action", "canonical_trigger"),
    "webhook_mappings": ("source", "event_type", "jq_filter", "canonical_trigger"),
    "tools": ("name",),
}
"""What every row of a file must hold."""

_UNIQUE: Final = _KEYS | {"source_event_mappings": ("source", "event_name", "action")}
"""What makes a row the same row as another: the unique key of its table."""

_NULLABLE: Final = frozenset({"action"})

SEEDS: Final = tuple(_KEYS)
"""The names that ``load`` knows; what a row refers to comes in an earlier one."""


class _StrictLoader(SafeLoader):
    """Plain data only, and a key given twice is an error: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def load(name: str) -> list[dict[str, Any]]:
    """The rows of ``seeding/<name>.yaml``, fresh on each call; keys are the REST wire's names.

    Raises:
        ValueError: no such seed, or a row that is wrong; the text names the file and the row.
    """
    if name not in SEEDS:
        raise ValueError(f"no seed is called {name!r}; there are {', '.join(SEEDS)}")
    return parse(name, (files("seeding") / f"{name}.yaml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> list[dict[str, Any]]:
    """The rows that ``text`` holds for the seed ``name``: each a mapping, none twice.

    Raises:
        ValueError: naming the file and the row, counted from 1.
    """
    file = f"{name}.yaml"
    try:
        rows = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{file}: must be a list of rows")  # noqa: TRY004 - one error for all
    first_at: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{file}, row {number}"
        _check_row(row, _KEYS[name], where)
        key = tuple(row[field] for field in _UNIQUE[name])
        if key in first_at:
            shown = ", ".join(str(part) for part in key)
            raise ValueError(f"{where}: {shown} is row {first_at[key]} already")
        first_at[key] = number
    return rows


def _check_row(row: Any, fields: tuple[str, ...], where: str) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: must be a mapping")  # noqa: TRY004 - one error for all
    for name in row:
        if not isinstance(name, str):
            raise ValueError(f"{where}: the key {name!r} must be text")  # noqa: TRY004
    for field in fields:
        if field not in row:
            raise ValueError(f"{where}: {field} is missing")
        value = row[field]
        if value is None and field in _NULLABLE:
            continue
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where}: {field} must be text, not {value!r}")
