"""A Plane, once of each age, and connections to it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.demo.serving import serving
from aether.renewing import RenewingConnection
from aether.sources.plane import site
from aether.vocabulary import SourceName
from tests.sources.plane.hooks import Age
from tests.sources.plane.stand_in import PlaneStandIn

Serve = Callable[[PlaneStandIn], PlaneStandIn]
Connect = Callable[[Mapping[str, str]], Awaitable[RenewingConnection]]


@pytest.fixture(autouse=True)
def _forgets() -> None:
    """Ports come again, and with them what was learned of another stand-in."""
    site._known_words.clear()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Puts a Plane on loopback until the test ends."""
    with ExitStack() as stack:

        def put(plane: PlaneStandIn) -> PlaneStandIn:
            plane.url = stack.enter_context(serving(plane.door))
            return plane

        yield put


@pytest.fixture(params=list(Age), ids=lambda age: age.value)
def plane(request: pytest.FixtureRequest, serve: Serve) -> PlaneStandIn:
    """Each test that asks for it runs against every age."""
    return serve(PlaneStandIn(request.param))


@pytest.fixture
async def connect(database: str) -> AsyncIterator[Connect]:
    """Connections with the credentials of an environment."""
    made: list[Credentials] = []

    async def open_one(environment: Mapping[str, str]) -> RenewingConnection:
        settings = Settings.from_environment({"DATABASE_URL": database, **environment})
        made.append(Credentials(settings))
        return await made[-1].outbound(SourceName.PLANE)

    yield open_one
    for one in made:
        await one.close()


@pytest.fixture
async def client(plane: PlaneStandIn, connect: Connect) -> RenewingConnection:
    """A connection to the Plane of the test."""
    return await connect(plane.environment())
