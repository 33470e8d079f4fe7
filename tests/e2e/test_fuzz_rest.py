"""The REST door against its own document: whatever is sent, the answer is one that it tells of."""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from rest_compat import OPS
from tests.e2e.fuzzing import IDS, bounded, fill
from tests.e2e.system import System

pytestmark = pytest.mark.slow

EXAMPLES: Final = 4
LONGEST: Final = 60  # seconds: the first chat starts a process, which loads much
CHECKS: Final[list[Any]] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
REFUSED_ALL_THE_SAME: Final = re.compile(
    r"must not be blank|is not a program that jq can read"
    r"|does not exist|: not set|must be a JSON Schema with|must be a whole number"
    r"|must be given again|is a mask|has no meaning for|required with|its host must be"
    r"|must not hold a |is an inner address|must be an http:// or"
    r"|give either body or body_base64|must be the name of a header|must be base64"
)
"""What a JSON Schema cannot say, or cannot say as JavaScript's and Python's \\s both read it."""


def test_whatever_is_sent_to_rest_is_answered_as_its_document_says(
    make_system: Callable[..., AbstractContextManager[System]], subtests: pytest.Subtests
) -> None:
    with make_system(ENCRYPTION_KEY="k" * 40, ALLOW_UNSIGNED="jira,plane") as made:
        made.start_web()
        fill(made)
        schema = schemathesis.openapi.from_url(f"{made.url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        told: Counter[int] = Counter()

        assert len(operations) == len(OPS)  # schemathesis passes over the document itself

        for operation in sorted(operations, key=lambda one: one.method == "delete"):
            with subtests.test(operation.label):
                _try(operation, told)
        assert "unhandled error" not in made.log.read_text()
        assert {200, 201, 400, 404, 409} <= told.keys()


def _try(operation: Any, told: Counter[int]) -> None:
    ids = st.sampled_from(IDS)
    with requests.Session() as session:

        @bounded(EXAMPLES)
        @given(st.data(), operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def valid(data: st.DataObject, case: Any) -> None:
            for name in case.path_parameters:
                case.path_parameters[name] = data.draw(ids)
            answer = case.call(session=session, timeout=LONGEST)
            case.validate_response(answer, checks=_checks(operation, answer))
            told[answer.status_code] += 1
            if answer.status_code == 400:
                assert REFUSED_ALL_THE_SAME.search(answer.text), (answer.text, case.body)

        @bounded(EXAMPLES)
        @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def invalid(case: Any) -> None:
            answer = case.call(session=session, timeout=LONGEST)
            # 413 is no refusal to schemathesis, which also makes texts beyond their maxLength.
            more = [] if answer.status_code == 413 else [checks.negative_data_rejection]
            case.validate_response(answer, checks=[*_checks(operation, answer), *more])
            told[answer.status_code] += 1
            if answer.status_code >= 400:
                assert list(json.loads(answer.content)) == ["error"]

        valid()
        if operation.body or operation.query:  # else nothing of it can be invalid
            invalid()


def _checks(operation: Any, answer: Any) -> list[Any]:
    """What an answer must keep to, but for two things that a chat may do.

    It may name a model that its server does not know: then that server's error is told. And the
    document's schema of a stream is that of its whole text, not of each event.
    """
    passed_over: set[Any] = set()
    if (operation.label, answer.status_code) == ("POST /api/llm/chat", 502):
        passed_over.add(not_a_server_error)
    if "text/event-stream" in str(answer.headers.get("content-type")):
        passed_over.add(checks.response_schema_conformance)
    return [one for one in CHECKS if one not in passed_over]
