"""A GitLab that stands in, served on loopback, and a connection to it."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from aether.config import Settings
from aether.credentials import Credentials, RenewingConnection
from aether.demo.serving import serving
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
async def client(gitlab_url: str, database: str) -> AsyncIterator[RenewingConnection]:
    """What the engine uses, with the credential of the environment."""
    settings = Settings.from_environment(
        {"DATABASE_URL": database, "GITLAB_URL": gitlab_url, "GITLAB_TOKEN": TOKEN}
    )
    credentials = Credentials(settings)
    yield await credentials.outbound(SourceName.GITLAB)
    await credentials.close()
