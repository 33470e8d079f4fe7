"""GraphQL as clients of web pages speak it: Apollo's and urql's, in Node."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.counterparts.conftest import MakeSystem
from tests.counterparts.install import GraphQLClients
from tests.doors.calls import TIME

pytestmark = pytest.mark.counterparts

SCRIPT: Final = Path(__file__).with_name("graphql_clients.mjs")


def test_apollo_and_urql_query_and_mutate_and_are_told_a_refusals_code(
    make_system: MakeSystem, graphql_clients: GraphQLClients
) -> None:
    with make_system() as made:
        url = made.start_web()

        done = subprocess.run(
            [graphql_clients.node, SCRIPT, graphql_clients.folder, f"{url}/graphql"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        assert list(told) == ["apollo", "urql"]
        for name, client in told.items():
            assert client["made"]["agentCreate"]["id"] == f"by_{name}"
            read = client["read"]["agent"]
            assert TIME.fullmatch(read.pop("createdAt"))
            read.pop("__typename", None)  # Apollo asks for it by itself
            assert read == {"id": f"by_{name}", "name": "Of a client", "role": "QA"}
            assert client["refused"] == "CONFLICT"
        assert told["urql"]["got"]["agent"]["id"] == "by_urql"
        agents = made.call("GET", "/api/agents")
        assert {one["id"] for one in agents} == {"by_apollo", "by_urql"}
