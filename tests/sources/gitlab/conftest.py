"""A GitLab that stands in, served on loopback, and a connection to it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

import pytest

from aether.demo.serving import serving
from aether.http import Connection, HttpClients
from aether.platform_auth import HEADERS
from aether.vocabulary import SourceName
from tests.sources.gitlab.stand_in import GitLabStandIn

TOKEN: Final = "glpat-a-token-of-the-tests-01"
PROJECT: Final = "acme/backend/api.v2"


@pytest.fixture
def gitlab() -> GitLabStandIn:
    """GitLab below a path of its host, which a person's token may write to."""
    stand_in = GitLabStandIn(prefix="/gitlab")
    stand_in.accept(TOKEN, "aether-person")
    return stand_in


@pytest.fixture
def gitlab_url(gitlab: GitLabStandIn) -> Iterator[str]:
    with serving(gitlab.app) as url:
        yield f"{url}/gitlab"


@pytest.fixture
async def client(gitlab_url: str) -> AsyncIterator[Connection]:
    """A connection by the header that GitLab's tokens go in."""

    async def headers() -> Mapping[str, str]:
        return HEADERS[SourceName.GITLAB]({"token": TOKEN})

    async with HttpClients() as clients:
        yield clients.connection(gitlab_url, headers)
