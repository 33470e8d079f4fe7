"""The GraphQL door against its own schema: every answer is 200, every error has a code."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import graphql
import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.graphql import nodes
from schemathesis.specs.graphql.scalars import CUSTOM_SCALARS

from aether.errors import ErrorCode
from tests.e2e.fuzzing import IDS, bounded, fill
from tests.e2e.system import System

pytestmark = pytest.mark.slow

EXAMPLES: Final = 8
WORDS: Final = ("issue.created", "issues", "pm_sarah", "x", ".a == 1", "#", "https://example.com")
MOMENTS: Final = (
    "2026-02-18T10:00:00Z", "2026-02-18T10:00:00+23:59", "0001-01-01T00:00:00+10:00",
    "9999-12-31T23:59:59-10:00", "2026-02-30T10:00:00Z", "",
)  # fmt: skip
CODES: Final = {str(code) for code in ErrorCode} - {str(ErrorCode.INTERNAL)}


def _object(fields: dict[str, graphql.ValueNode]) -> graphql.ValueNode:
    return nodes.Object(
        [
            graphql.ObjectFieldNode(name=graphql.NameNode(value=name), value=value)
            for name, value in fields.items()
        ]
    )


@contextmanager
def _scalars() -> Iterator[None]:
    """Scalars by strategies of literals, ours and GraphQL's; schemathesis keeps them globally."""
    text = st.sampled_from(WORDS) | st.text(max_size=20)
    number = st.integers(1, 100) | st.integers(-3, 2**31 - 1)
    large = st.integers(-(2**63), 2**63 - 1) | st.integers()
    leaf = (
        text.map(nodes.String)
        | large.map(nodes.Int)
        | st.floats(allow_nan=False, allow_infinity=False).map(nodes.Float)
        | st.booleans().map(nodes.Boolean)
        | st.just(nodes.Null)
    )
    keys = st.from_regex("[a-z_]{1,6}", fullmatch=True)
    anything = st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3).map(nodes.List)
            | st.dictionaries(keys, inner, max_size=3).map(_object)
        ),
        max_leaves=5,
    )
    for name, strategy in {
        "ID": (st.sampled_from(IDS) | text).map(nodes.String),
        "Int": number.map(nodes.Int),
        "String": text.map(nodes.String),
        "BigInt": large.map(nodes.Int),
        "DateTime": st.sampled_from(MOMENTS).map(nodes.String),
        "JSON": anything,
    }.items():
        schemathesis.graphql.scalar(name, strategy)
    try:
        yield
    finally:
        CUSTOM_SCALARS.clear()


def test_whatever_is_asked_by_graphql_is_answered_with_200_and_codes(
    make_system: Callable[..., AbstractContextManager[System]], subtests: pytest.Subtests
) -> None:
    with make_system(ENCRYPTION_KEY="k" * 40) as made, _scalars():
        made.start_web()
        fill(made)
        schema = schemathesis.graphql.from_url(f"{made.url}/graphql")
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        told: Counter[str] = Counter()

        assert {one.label.partition(".")[0] for one in operations} == {"Query", "Mutation"}
        for operation in sorted(operations, key=lambda one: one.label.endswith("Delete")):
            with subtests.test(operation.label):
                _try(operation, told)

        assert "unhandled error" not in made.log.read_text()
        assert {"data", "NOT_FOUND", "INVALID_INPUT", "CONFLICT"} <= told.keys()


def _try(operation: Any, told: Counter[str]) -> None:
    with requests.Session() as session:

        @bounded(EXAMPLES)
        @given(operation.as_strategy())
        def asked(case: Any) -> None:
            answer = case.call(session=session)
            assert answer.status_code == 200, (answer.text, case.body)
            body = answer.json()
            told["data" if body.get("data") else "none"] += 1
            for error in body.get("errors", []):
                told[error["extensions"]["code"]] += 1
                assert error["extensions"]["code"] in CODES, (error, case.body)

        asked()
