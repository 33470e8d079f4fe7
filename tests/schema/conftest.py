"""The small schema, behind the real view, as aether/main.py mounts it."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient

from schema.core import Schema
from schema.view import MOUNT_PATH, View
from tests.schema.small import Calls, calls, small_schema

ORIGIN = "https://console.test"


def mounted(view: View) -> Starlette:
    return Starlette(
        routes=[
            Route(MOUNT_PATH, view),
            WebSocketRoute(MOUNT_PATH, view),
            Mount(MOUNT_PATH, view),
        ]
    )


@pytest.fixture(scope="session")
def schema() -> Schema:
    return small_schema()


@pytest.fixture
def made() -> Calls:
    vars(calls).update(vars(Calls()))
    return calls


@pytest.fixture
def client(schema: Schema, made: Calls) -> Iterator[TestClient]:
    with TestClient(mounted(View(schema, origins=(ORIGIN,)))) as client:
        yield client
