"""GraphQL as Python programs speak it: the client ``gql`` against a web process."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXTransport
from graphql import build_schema, lexicographic_sort_schema, print_schema

from schema import SDL_PATH
from tests.doors.calls import TIME
from tests.e2e.system import System

MAKE = "mutation Make($input: AgentInput!) { agentCreate(input: $input) { id role enabled } }"
READ = "query Read($id: ID!) { agent(id: $id) { id createdAt capabilities { capability } } }"


def test_gql_reads_the_schema_and_queries_mutates_and_is_told_codes(
    make_system: Callable[..., AbstractContextManager[System]],
) -> None:
    with make_system() as made:
        transport = HTTPXTransport(url=f"{made.start_web()}/graphql")
        client = Client(
            transport=transport,
            fetch_schema_from_transport=True,
            introspection_args={"specified_by_url": True},
        )
        sarah = {"id": "pm_sarah", "name": "Sarah", "role": "PM", "prompt": "You are Sarah."}

        with client as session:

            def ask(query: str, **variables: Any) -> Any:
                return session.execute(GraphQLRequest(query, variable_values=variables))

            def code(query: str, **variables: Any) -> str:
                with pytest.raises(TransportQueryError) as refused:
                    ask(query, **variables)
                assert refused.value.errors is not None
                [error] = refused.value.errors
                return str(error["extensions"]["code"])

            created = ask(MAKE, input=sarah)
            read = ask(READ, id="pm_sarah")

            assert created == {"agentCreate": {"id": "pm_sarah", "role": "PM", "enabled": True}}
            assert TIME.fullmatch(read["agent"].pop("createdAt"))
            assert read == {"agent": {"id": "pm_sarah", "capabilities": []}}
            assert code(MAKE, input=sarah) == "CONFLICT"
            assert code(MAKE, input=sarah | {"id": "Not snake"}) == "INVALID_INPUT"
            assert code(READ, id="nobody") == "NOT_FOUND"

        assert client.schema is not None
        told = print_schema(lexicographic_sort_schema(client.schema))
        written = build_schema(SDL_PATH.read_text(encoding="utf-8"))
        assert told == print_schema(lexicographic_sort_schema(written))
