"""How PostgreSQL reads: the statements that were sent, and their plans."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aether.db import rows
from tests.schema.both import STATEMENTS

Sent = list[tuple[str, list[Any]]]


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: Sent = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "%s: %s" and isinstance(record.args, tuple):
            statement, values = record.args
            self.kept.append((str(statement), list(values or ())))  # type: ignore[call-overload]


@contextmanager
def kept() -> Iterator[Sent]:
    """The statements that are sent within the block, with their values."""
    ear, level = _Keeping(), STATEMENTS.level
    STATEMENTS.addHandler(ear)
    STATEMENTS.setLevel(logging.DEBUG)
    try:
        yield ear.kept
    finally:
        STATEMENTS.setLevel(level)
        STATEMENTS.removeHandler(ear)


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A plan's steps, each before those that it is made of."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def plan_of(statement: str, *values: Any, options: str = "") -> list[Mapping[str, Any]]:
    """The steps that PostgreSQL would take for a statement."""
    [found] = await rows(f"EXPLAIN (FORMAT JSON{options}) {statement}", *values)
    [told] = json.loads(found["QUERY PLAN"])
    return list(nodes(told["Plan"]))


async def read_whole(statement: str, values: list[Any]) -> list[str]:
    """The tables that a statement would walk through from end to end."""
    steps = await plan_of(statement, *values)
    return [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"]


async def looked_at(statement: str, values: list[Any]) -> Counter[str]:
    """How many rows of each table a statement looks at; runs it."""
    return counted(await plan_of(statement, *values, options=", ANALYZE"))


def counted(steps: list[Mapping[str, Any]]) -> Counter[str]:
    """The same of a plan that was run: of its scans, also what they found and left out."""
    found: Counter[str] = Counter()
    for step in steps:
        if "Relation Name" in step and step["Node Type"] != "ModifyTable":
            left_out = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
            of_one = step["Actual Rows"] + sum(step.get(name, 0) for name in left_out)
            found[step["Relation Name"]] += round(of_one * step["Actual Loops"])
    return found
