"""GitHub as ``emulate``: its seed, and what a person does there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.counterparts.install import NodePrograms
from tests.counterparts.programs import LOOPBACK, Started, running

OWNER: Final = "octo-person"
REPO: Final = f"{OWNER}/api"
APP_ID: Final = 12345
INSTALLATION_ID: Final = 100
BOT: Final = "aether[bot]"
EVENTS: Final = ("issues", "issue_comment")

BUDGET_SECONDS: Final = 3600
BEHIND: Final = Path(__file__).with_name("behind.cjs")

OWNER_TOKEN: Final = "token-of-a-person"
USER: Final = "aether-person"
USER_TOKEN: Final = "token-of-the-account-we-use"


def new_private_key() -> str:
    """An App's key in PEM, as GitHub hands it out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


@dataclass(frozen=True, kw_only=True)
class App:
    """Our GitHub App and where its webhook goes."""

    private_key: str = field(repr=False)
    webhook_url: str
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Emulate:
    """The running emulator as a person with ``token`` meets it."""

    url: str

    def call(self, method: str, path: str, told: Any = None, *, token: str = OWNER_TOKEN) -> Any:
        """One REST call; any status from 400 on is a failure of the test."""
        answer = httpx.request(
            method,
            f"{self.url}{path}",
            json=told,
            headers={"Authorization": f"Bearer {token}"},
            timeout=15,
        )
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def hook(self, url: str, secret: str) -> int:
        """Let the repository tell ``url`` of its issues and comments; the hook's id."""
        config = {"url": url, "content_type": "json", "secret": secret}
        told = {"name": "web", "active": True, "events": list(EVENTS), "config": config}
        return int(self.call("POST", f"/repos/{REPO}/hooks", told)["id"])

    def hook_deliveries(self, hook: int) -> list[dict[str, Any]]:
        """What the hook has sent, oldest first."""
        found = self.call("GET", f"/repos/{REPO}/hooks/{hook}/deliveries?per_page=100")
        return sorted(found, key=lambda one: int(one["id"]))

    def open_issue(self, title: str, body: str) -> int:
        """Open an issue; its number."""
        told = {"title": title, "body": body}
        return int(self.call("POST", f"/repos/{REPO}/issues", told)["number"])

    def issue(self, number: int) -> Mapping[str, Any]:
        """The issue as it is now."""
        found: Mapping[str, Any] = self.call("GET", f"/repos/{REPO}/issues/{number}")
        return found

    def comment(self, number: int, body: str, *, token: str = OWNER_TOKEN) -> None:
        """Comment as the person of the token."""
        self.call("POST", f"/repos/{REPO}/issues/{number}/comments", {"body": body}, token=token)

    def comments(self, number: int) -> list[dict[str, Any]]:
        """The issue's comments, oldest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/repos/{REPO}/issues/{number}/comments")
        return found

    def installation_tokens(self) -> list[dict[str, Any]]:
        """What is known of each token that an App was given."""
        found: list[dict[str, Any]] = self.call("GET", "/_emulate/installation-tokens")[
            "installation_tokens"
        ]
        return found

    def is_used(self) -> bool:
        """Whether anybody but the test's own people has written here."""
        issues = self.call("GET", f"/repos/{REPO}/issues?state=all&per_page=100")
        numbers = [int(one["number"]) for one in issues]
        authors = {one["user"]["login"] for number in numbers for one in self.comments(number)}
        return bool(self.installation_tokens()) or bool(authors - {OWNER})


def _seed(app: App | None) -> dict[str, Any]:
    people = {OWNER: OWNER_TOKEN, USER: USER_TOKEN}
    seed: dict[str, Any] = {
        "users": [{"login": login, "name": login} for login in people],
        "repos": [{"owner": OWNER, "name": REPO.partition("/")[2], "auto_init": True}],
    }
    if app is not None:
        installation = {
            "installation_id": INSTALLATION_ID,
            "account": OWNER,
            "repository_selection": "all",
        }
        seed["apps"] = [
            {
                "app_id": APP_ID,
                "slug": BOT.removesuffix("[bot]"),
                "name": "Aether",
                "private_key": app.private_key,
                "permissions": {"issues": "write", "metadata": "read"},
                "events": list(EVENTS),
                "webhook_url": app.webhook_url,
                "webhook_secret": app.webhook_secret,
                "installations": [installation],
            }
        ]
    tokens = {
        token: {"login": login, "scopes": ["repo", "user"]} for login, token in people.items()
    }
    return {"tokens": tokens, "github": seed}


@contextmanager
def emulate(
    programs: NodePrograms,
    started: Started,
    folder: Path,
    *,
    port: int,
    app: App | None = None,
    budget_seconds: int = BUDGET_SECONDS,
) -> Iterator[Emulate]:
    """GitHub with one repository, its owner and a second person, and our App where it is given.

    ``budget_seconds``: for how long a token's 5,000 calls are, from its first call on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed = folder / "seed.json"
    seed.write_text(json.dumps(_seed(app)))
    command: list[str | Path] = [programs.node, programs.emulate, "start", "--service", "github"]
    command += ["--host", LOOPBACK, "--port", str(port), "--seed", seed]
    ready = "/_emulate/installation-tokens"
    environment = {
        "NODE_OPTIONS": f"--require {BEHIND}",
        "AETHER_TEST_BUDGET_MS": str(budget_seconds * 1000),
    }
    with running(
        "emulate", command, port=port, ready=ready, folder=folder, environment=environment
    ) as program:
        github = Emulate(url=program.url)
        try:
            yield github
        finally:
            started.stopped("emulate", is_used=github.is_used())
