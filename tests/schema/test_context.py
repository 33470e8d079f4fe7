"""Data loaders gather what one operation asks for, and end with it."""

import pytest
from starlette.testclient import TestClient

from schema.context import Context, Loaders
from schema.core import Schema
from tests.schema.small import Calls, doubles_of


async def test_a_list_asks_for_its_relations_at_once(schema: Schema, made: Calls) -> None:
    answer = await schema.execute("{ agents { double again: double } }", context_value=Context())

    assert answer.data is not None
    assert [row["double"] for row in answer.data["agents"]] == [0, 2, 4, 6, 8]
    assert made.batches == [[0, 1, 2, 3, 4]]


def test_operations_on_one_socket_share_no_loader(client: TestClient, made: Calls) -> None:
    with client.websocket_connect("/graphql", ["graphql-transport-ws"]) as socket:
        socket.send_json({"type": "connection_init"})
        socket.receive_json()
        for number in ("1", "2"):
            query = "{ agent(id: 4) { double } }"
            socket.send_json({"type": "subscribe", "id": number, "payload": {"query": query}})
            answer = socket.receive_json()
            assert answer["payload"] == {"data": {"agent": {"double": 8}}}
            socket.receive_json()

    assert made.batches == [[4], [4]]


@pytest.mark.parametrize(("cache", "batches"), [(True, [[3]]), (False, [[3], [3]])])
async def test_loaders_without_a_cache_ask_again(
    made: Calls, cache: bool, batches: list[list[int]]
) -> None:
    loaders = Loaders(cache=cache)

    for _ in range(2):
        assert await loaders.load(doubles_of, 3) == 6

    assert made.batches == batches
