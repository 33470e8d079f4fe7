"""A Jira, once as Cloud and once as Server, and connections to it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from aether.demo.serving import serving
from aether.renewing import RenewingConnection
from aether.vocabulary import SourceName
from tests.sources.jira.stand_in import JiraStandIn

Serve = Callable[[JiraStandIn], JiraStandIn]
Connect = Callable[[Mapping[str, str]], Awaitable[RenewingConnection]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Puts a site on loopback until the test ends."""
    with ExitStack() as stack:

        def put(site: JiraStandIn) -> JiraStandIn:
            site.url = stack.enter_context(serving(site.door)) + site.prefix
            return site

        yield put


@pytest.fixture(params=["cloud", "server"])
def jira(request: pytest.FixtureRequest, serve: Serve) -> JiraStandIn:
    """Each test that asks for it runs against both."""
    return serve(JiraStandIn(is_cloud=request.param == "cloud"))


@pytest.fixture
async def connect(database: str) -> AsyncIterator[Connect]:
    """Connections with the credentials of an environment."""
    made: list[Credentials] = []

    async def open_one(environment: Mapping[str, str]) -> RenewingConnection:
        settings = Settings.from_environment({"DATABASE_URL": database, **environment})
        made.append(Credentials(settings))
        return await made[-1].outbound(SourceName.JIRA)

    yield open_one
    for one in made:
        await one.close()


@pytest.fixture
async def client(jira: JiraStandIn, connect: Connect) -> RenewingConnection:
    """A connection to the site of the test."""
    return await connect(jira.environment())
