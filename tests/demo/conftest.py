"""Both stand-ins, served, with clients that speak plain HTTP to them."""

from collections.abc import Iterator

import httpx
import pytest

from aether.demo.github import Account, GitHubStandIn
from aether.demo.model import ScriptedModel
from aether.demo.serving import serving

REPO = "acme/checkout-service"
BOT_TOKEN = "ghs_bot_0001"
MIA_TOKEN = "ghp_mia_0002"
KEY = "sk-test-0003"


@pytest.fixture
def stand_in() -> GitHubStandIn:
    github = GitHubStandIn({BOT_TOKEN: Account("aether[bot]", "Bot"), MIA_TOKEN: "mia-ops"})
    github.add_repository(REPO, collaborators=["jo-dev"])
    github.add_issue(REPO, 482, "Charged twice", "Two charges.", "mia-ops", labels=["bug"])
    return github


@pytest.fixture
def github_url(stand_in: GitHubStandIn) -> Iterator[str]:
    with serving(stand_in.app) as url:
        yield url


@pytest.fixture
def github(github_url: str) -> Iterator[httpx.Client]:
    """A client with the bot's token, at the repository."""
    headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
    with httpx.Client(base_url=f"{github_url}/repos/{REPO}", headers=headers) as client:
        yield client


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(key=KEY)


@pytest.fixture
def model_url(model: ScriptedModel) -> Iterator[str]:
    with serving(model.app) as url:
        yield f"{url}/v1"


@pytest.fixture
def openai(model_url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=model_url, headers=headers) as client:
        yield client
