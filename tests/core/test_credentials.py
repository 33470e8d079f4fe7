"""Whose token speaks, which secret proves, and what happens when either has changed."""

import base64
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aether.clock import to_wire
from aether.config import Settings
from aether.credentials import Credentials
from aether.crypto import DecryptionError, Vault
from aether.db import rows
from aether.demo.github import GitHubStandIn
from aether.demo.serving import serving
from aether.errors import NotConfiguredError, NotFoundError, SignatureError, UpstreamError
from aether.platform_auth import Account
from aether.proofs import webhook_proof
from aether.sources.base import Outbound
from aether.vocabulary import SourceName
from tests.core.fakes import FakeTime, Platform

KEY = "key-key-key-key-key-key-key-key-key-key"
OTHER_KEY = "other-other-other-other-other-other-other"
GITHUB, JIRA = SourceName.GITHUB, SourceName.JIRA


def settings(**told: str) -> Settings:
    return Settings.from_environment({name.upper(): value for name, value in told.items()})


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def github() -> Iterator[tuple[GitHubStandIn, str]]:
    stand_in = GitHubStandIn({"token-of-environment": "environment"})
    stand_in.add_repository("acme/api")
    with serving(stand_in.app) as url:
        yield stand_in, url


async def _integration(source: str, name: str, credentials: object, **columns: Any) -> int:
    """A row as the resolver will write it: its id first, since the ciphertext is bound to it."""
    [told] = await rows("SELECT nextval(pg_get_serial_sequence('integration', 'id')) AS id")
    vault, place = Vault(settings(encryption_key=KEY).encryption_key), "integration"
    encrypted = vault.encrypt(
        json.dumps(credentials), table=place, column="credentials_encrypted", row_key=told["id"]
    )
    secret = columns.pop("secret", None)
    if secret is not None:
        secret = vault.encrypt(
            secret, table=place, column="webhook_secret_encrypted", row_key=told["id"]
        )
    values = {"slug": None, "base_url": None, "agent_id": None, "project_id": None} | columns
    enabled = values.pop("enabled", True)
    await rows(
        "INSERT INTO integration (id, source, name, credentials_encrypted, enabled,"
        " webhook_secret_encrypted, slug, base_url, agent_id, project_id, webhook, created_at,"
        " updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb, now(),"
        " now())",
        told["id"], source, name, encrypted, enabled, secret, values["slug"], values["base_url"],
        values["agent_id"], values["project_id"], '{"header": "x-signature"}',
    )  # fmt: skip
    return int(told["id"])


async def _agent_and_project() -> int:
    await rows(
        "INSERT INTO agent (id, name, role, prompt, responsibilities, constraints, enabled,"
        " created_at, updated_at)"
        " VALUES ('ta_leo', 'Leo', 'ta', 'p', '[]', '[]', true, now(), now())"
    )
    [project] = await rows(
        "INSERT INTO project (name, source, source_project_id, enabled, created_at, updated_at)"
        " VALUES ('API', 'github', 'acme/api', true, now(), now()) RETURNING id"
    )
    return int(project["id"])


async def _login(outbound: Outbound) -> Any:
    return (await outbound.request("GET", "/user"))["login"]


# -- which secret proves a delivery


@pytest.mark.parametrize(
    ("told", "slug", "secret", "setting"),
    [
        ({"github_webhook_secret": "one, two,"}, "github", "one,two", "GITHUB_WEBHOOK_SECRET"),
        ({}, "github", None, "GITHUB_WEBHOOK_SECRET"),
        ({"github_webhook_secret": " , "}, "github", None, "GITHUB_WEBHOOK_SECRET"),
        ({"gitlab_signing_token": "whsec_x", "gitlab_webhook_secret": "y"}, "gitlab",
         "whsec_x,y", "GITLAB_WEBHOOK_SECRET"),
        ({"jira_webhook_secret": "j"}, "jira", "j", "JIRA_WEBHOOK_SECRET"),
        ({"plane_webhook_secret": "p"}, "plane", "p", "PLANE_WEBHOOK_SECRET"),
    ],
)  # fmt: skip
async def test_a_sources_own_slug_is_proven_by_its_setting(
    told: dict[str, str], slug: str, secret: str | None, setting: str
) -> None:
    proof = await webhook_proof(settings(**told), slug)

    assert proof.source == slug
    assert (proof.secret and proof.secret.get_secret_value()) == secret
    assert (proof.setting, proof.is_stand_in, proof.lets_unsigned_in) == (setting, False, False)


async def test_the_api_token_stands_in_for_gitlab_and_plane_only_where_no_secret_is_set() -> None:
    tokens = {"gitlab_token": "glpat", "plane_api_key": "plane_api", "jira_api_token": "j"}

    gitlab = await webhook_proof(settings(**tokens), "gitlab")
    plane = await webhook_proof(settings(**tokens), "plane")
    jira = await webhook_proof(settings(**tokens), "jira")
    secured = await webhook_proof(settings(**tokens, gitlab_webhook_secret="s"), "gitlab")

    assert gitlab.secret is not None
    assert plane.secret is not None
    assert secured.secret is not None
    assert (gitlab.secret.get_secret_value(), gitlab.is_stand_in) == ("glpat", True)
    assert (plane.secret.get_secret_value(), plane.is_stand_in) == ("plane_api", True)
    assert (jira.secret, jira.is_stand_in) == (None, False)
    assert (secured.secret.get_secret_value(), secured.is_stand_in) == ("s", False)


@pytest.mark.parametrize(
    ("allowed", "jira", "github"),
    [("", False, False), ("jira,plane", True, False), ("all", True, True)],
)
async def test_unsigned_is_let_in_only_where_allow_unsigned_says_so(
    allowed: str, jira: bool, github: bool
) -> None:
    told = settings(allow_unsigned=allowed)

    assert (await webhook_proof(told, "jira")).lets_unsigned_in is jira
    assert (await webhook_proof(told, "github")).lets_unsigned_in is github


@pytest.mark.usefixtures("database")
async def test_an_integrations_slug_is_proven_by_its_own_secret() -> None:
    number = await _integration("jira", "Board", {}, slug="acme-board", secret="a,b")

    proof = await webhook_proof(
        settings(encryption_key=KEY, jira_webhook_secret="another"), "acme-board"
    )

    assert proof.secret is not None
    assert proof.secret.get_secret_value() == "a,b"
    assert (proof.source, proof.integration_id) == (JIRA, number)
    assert proof.webhook == {"header": "x-signature"}
    assert "a,b" not in repr(proof)


@pytest.mark.usefixtures("database")
async def test_an_integration_without_a_secret_is_not_proven_by_the_sources() -> None:
    await _integration("jira", "Board", {}, slug="acme-board")

    proof = await webhook_proof(settings(jira_webhook_secret="another"), "acme-board")

    assert proof.secret is None
    assert proof.setting == "webhook.secret of integration 'Board'"


@pytest.mark.usefixtures("database")
async def test_a_secret_that_cannot_be_decrypted_is_a_refusal() -> None:
    await _integration("jira", "Board", {}, slug="acme-board", secret="a")

    for told in ({"encryption_key": OTHER_KEY}, {}):
        with pytest.raises(SignatureError, match="ENCRYPTION_KEY"):
            await webhook_proof(settings(**told, allow_unsigned="all"), "acme-board")


@pytest.mark.usefixtures("database")
async def test_a_webhook_mappings_slug_is_proven_as_its_source_is() -> None:
    await rows(
        "INSERT INTO webhook_mapping (source, event_type, jq_filter, canonical_trigger, slug)"
        " VALUES ('github', 'issues', 'true', 'issue.created', 'nightly')"
    )

    proof = await webhook_proof(settings(github_webhook_secret="s"), "nightly")

    assert proof.source == GITHUB
    assert proof.secret is not None
    assert proof.secret.get_secret_value() == "s"


@pytest.mark.usefixtures("database")
async def test_another_slug_is_not_found() -> None:
    await _integration("jira", "Off", {}, slug="off", secret="a", enabled=False)

    for slug in ("unknown", "", "GitHub", "a\x00b", "\ud800", "x" * 500, "off"):
        with pytest.raises(NotFoundError, match="webhook"):
            await webhook_proof(settings(encryption_key=KEY), slug)


# -- whose token speaks


@pytest.mark.usefixtures("database")
async def test_the_nearest_credential_speaks(github: tuple[GitHubStandIn, str]) -> None:
    stand_in, url = github
    project = await _agent_and_project()
    credentials = Credentials(
        settings(encryption_key=KEY, github_token="token-of-environment", github_api_url=url)
    )
    both: dict[str, Any] = {"agent_id": "ta_leo", "project_id": project}
    who = [await _login(await credentials.outbound(GITHUB, **both))]

    steps: list[tuple[str, dict[str, Any]]] = [
        ("source", {}),
        ("agent", {"agent_id": "ta_leo"}),
        ("project", {"project_id": project}),
        ("both", both),
    ]
    for name, columns in steps:
        stand_in.accept(f"token-of-{name}", name)
        await _integration("github", name, {"token": f"token-of-{name}"}, **columns)
        who.append(await _login(await credentials.outbound(GITHUB, **both)))

    assert who == ["environment", "source", "agent", "project", "both"]
    assert await _login(await credentials.outbound(GITHUB, project_id=project)) == "project"
    assert await _login(await credentials.outbound(GITHUB, agent_id="ta_leo")) == "agent"
    assert await _login(await credentials.outbound(GITHUB, agent_id="qa_kim")) == "source"
    await credentials.close()


@pytest.mark.usefixtures("database")
async def test_disabled_foreign_and_empty_integrations_do_not_speak(
    github: tuple[GitHubStandIn, str],
) -> None:
    _, url = github
    await _integration("github", "off", {"token": "t"}, enabled=False)
    await _integration("jira", "foreign", {"token": "t"})
    await _integration("github", "only a webhook", {}, slug="hook")
    credentials = Credentials(
        settings(encryption_key=KEY, github_token="token-of-environment", github_api_url=url)
    )

    assert await _login(await credentials.outbound(GITHUB)) == "environment"
    await credentials.close()


@pytest.mark.usefixtures("database")
async def test_a_credential_that_cannot_be_decrypted_is_an_error_and_no_other_speaks(
    github: tuple[GitHubStandIn, str],
) -> None:
    stand_in, url = github
    await _integration("github", "mine", {"token": "t"})
    credentials = Credentials(
        settings(encryption_key=OTHER_KEY, github_token="token-of-environment", github_api_url=url)
    )

    with pytest.raises(DecryptionError, match="ENCRYPTION_KEY"):
        await credentials.outbound(GITHUB)

    assert stand_in.calls == []


MISSING = [
    ("github", {}, r"^GITHUB_TOKEN: not set"),
    ("gitlab", {}, r"^GITLAB_TOKEN: not set"),
    ("jira", {"jira_email": "a@example.com"}, r"^JIRA_API_TOKEN: not set"),
    ("jira", {"jira_api_token": "t"}, r"^JIRA_URL: not set"),
    ("plane", {}, r"^PLANE_API_KEY: not set"),
    ("github", {"github_app_id": "1"}, r"^GITHUB_APP_PRIVATE_KEY: not set"),
    ("github", {"github_app_private_key": "x"}, r"^GITHUB_APP_ID: not set"),
    ("github", {"github_app_id": "1", "github_app_private_key": "x"},
     r"^GITHUB_APP_PRIVATE_KEY: is no RSA key"),
    ("github", {"github_token": "töken"}, r"^GITHUB_TOKEN: holds characters"),
]  # fmt: skip


@pytest.mark.usefixtures("database")
async def test_what_is_missing_is_named() -> None:
    for source, told, text in MISSING:
        with pytest.raises(NotConfiguredError, match=text):
            await Credentials(settings(**told)).outbound(SourceName(source))


async def _headers(request: Request) -> Response:
    return JSONResponse(dict(request.headers))


SHOWN = [
    ("github", {"github_token": "t1"}, "authorization", "Bearer t1"),
    ("gitlab", {"gitlab_token": "t2"}, "private-token", "t2"),
    ("jira", {"jira_api_token": "t3", "jira_email": "a@example.com"}, "authorization",
     "Basic " + base64.b64encode(b"a@example.com:t3").decode()),
    ("jira", {"jira_api_token": "t4"}, "authorization", "Bearer t4"),
    ("plane", {"plane_api_key": "t5"}, "x-api-key", "t5"),
]  # fmt: skip


@pytest.mark.usefixtures("database")
async def test_each_platform_is_shown_its_header() -> None:
    with Platform({"/headers": _headers}).served() as platform:
        urls = dict.fromkeys(
            ("github_api_url", "gitlab_url", "jira_url", "plane_url"), platform.url
        )
        for source, told, header, value in SHOWN:
            credentials = Credentials(settings(**told, **urls))
            outbound = await credentials.outbound(SourceName(source))

            shown = await outbound.request("GET", "/headers")
            await credentials.close()

            assert shown[header] == value
            if source == "github":
                assert shown["accept"] == "application/vnd.github+json"
                assert shown["x-github-api-version"] == "2022-11-28"


@pytest.mark.usefixtures("database")
async def test_an_integration_has_its_own_address_and_names_for_its_token() -> None:
    with Platform({"/headers": _headers}).served() as platform:
        await _integration(
            "jira", "mine", {"email": "b@example.com", "api_token": "t"}, base_url=platform.url
        )
        credentials = Credentials(settings(encryption_key=KEY, jira_url="http://127.0.0.1:9"))

        shown = await (await credentials.outbound(JIRA)).request("GET", "/headers")
        await credentials.close()

    assert shown["authorization"] == "Basic " + base64.b64encode(b"b@example.com:t").decode()


# -- a credential that changes while it is used


@pytest.mark.usefixtures("database")
async def test_a_token_rotated_during_a_run_is_read_again_once(
    github: tuple[GitHubStandIn, str],
) -> None:
    stand_in, url = github
    stand_in.accept("token-before", "bot")
    number = await _integration("github", "mine", {"token": "token-before"})
    credentials = Credentials(settings(encryption_key=KEY, github_api_url=url))
    outbound = await credentials.outbound(GITHUB)

    stand_in.revoke("token-before")
    stand_in.accept("token-after", "bot")
    encrypted = Vault(settings(encryption_key=KEY).encryption_key).encrypt(
        '{"token": "token-after"}',
        table="integration",
        column="credentials_encrypted",
        row_key=number,
    )
    await rows("UPDATE integration SET credentials_encrypted = $2 WHERE id = $1", number, encrypted)
    who = await _login(outbound)
    await credentials.close()

    assert who == "bot"
    assert [(call.token, call.status) for call in stand_in.calls] == [("fore", 401), ("fter", 200)]


@pytest.mark.usefixtures("database")
async def test_a_token_that_stays_wrong_is_tried_twice_and_no_more(
    github: tuple[GitHubStandIn, str],
) -> None:
    stand_in, url = github
    credentials = Credentials(settings(github_token="wrong-wrong-wrong", github_api_url=url))
    outbound = await credentials.outbound(GITHUB)

    with pytest.raises(UpstreamError, match="answered 401, Bad credentials") as caught:
        await outbound.request("POST", "/repos/acme/api/issues/1/comments", json={"body": "x"})
    await credentials.close()

    assert (caught.value.retryable, caught.value.may_have_happened) == (False, False)
    assert [call.status for call in stand_in.calls] == [401, 401]


# -- who we are


@pytest.mark.usefixtures("database")
async def test_our_account_is_asked_once_an_hour(
    github: tuple[GitHubStandIn, str], time: FakeTime
) -> None:
    stand_in, url = github
    credentials = Credentials(
        settings(github_token="token-of-environment", github_api_url=url), time.clients()
    )

    first = await credentials.account(GITHUB)
    again = await credentials.account(GITHUB)
    asked = len(stand_in.calls)
    time.seconds += 3601
    await credentials.account(GITHUB)
    await credentials.close()

    assert first is not None
    assert (first.login, first.is_bot) == ("environment", False)
    assert again == first
    assert (asked, len(stand_in.calls)) == (1, 2)


@pytest.mark.usefixtures("database")
async def test_an_account_that_the_platform_does_not_tell_is_none(
    github: tuple[GitHubStandIn, str],
) -> None:
    stand_in, url = github
    stand_in.accept("token-of-an-actions-run", "github-actions[bot]", "Bot")
    credentials = Credentials(settings(github_token="token-of-an-actions-run", github_api_url=url))

    assert await credentials.account(GITHUB) is None
    await credentials.close()


# -- GitHub App


class AppPlatform:
    """GitHub as an App sees it: it checks the signed token and hands out tokens of an hour."""

    def __init__(self, time: FakeTime) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.time = time
        self.valid: set[str] = set()
        self.minted = 0
        self.gate = threading.Lock()
        self.platform = Platform(
            {
                "/repos/acme/api/installation": self.signed(self.installation),
                "/app/installations": self.signed(self.installations),
                "/app/installations/11/access_tokens": self.signed(self.mint),
                "/app": self.signed(self.app),
                "/work": self.work,
            }
        )

    @property
    def pem(self) -> str:
        return self.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ).decode()

    def signed(self, answer: Any) -> Any:
        async def checked(request: Request) -> Response:
            head, body, signature = request.headers["authorization"][7:].split(".")
            try:
                self.key.public_key().verify(
                    _unpadded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), SHA256()
                )
            except InvalidSignature:
                return JSONResponse({"message": "bad token"}, 401)
            claims = json.loads(_unpadded(body))
            now = self.time.clock().timestamp()
            if not (claims["iat"] <= now < claims["exp"] <= now + 600 and claims["iss"] == "123"):
                return JSONResponse({"message": "bad claims"}, 401)
            return JSONResponse(answer())

        return checked

    def installation(self) -> Any:
        return {"id": 11}

    def installations(self) -> Any:
        return [{"id": 11}]

    def app(self) -> Any:
        return {"id": 123, "slug": "helper"}

    def mint(self) -> Any:
        with self.gate:
            self.minted += 1
            token = f"ghs_token_number_{self.minted}"
            self.valid.add(token)
        return {"token": token, "expires_at": to_wire(self.time.clock() + timedelta(hours=1))}

    async def work(self, request: Request) -> Response:
        token = request.headers["authorization"][7:]
        if token not in self.valid:
            return JSONResponse({"message": f"Bad credentials {token}"}, 401)
        return JSONResponse(token)


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def app() -> Iterator[AppPlatform]:
    app = AppPlatform(FakeTime())
    with app.platform.served():
        yield app


def _app_credentials(app: AppPlatform) -> Credentials:
    told = settings(
        github_app_id="123",
        github_app_private_key=app.pem.replace("\n", "\\n"),
        github_token="a-personal-token-that-is-not-used",
        github_api_url=app.platform.url,
    )
    return Credentials(told, app.time.clients())


@pytest.mark.usefixtures("database")
async def test_an_app_signs_finds_its_installation_and_keeps_its_token(app: AppPlatform) -> None:
    credentials = _app_credentials(app)

    for _ in range(2):
        outbound = await credentials.outbound(GITHUB, project_key="acme/api")
        assert await outbound.request("GET", "/work") == "ghs_token_number_1"
    await credentials.close()

    assert app.platform.asked == [
        "GET /repos/acme/api/installation",
        "POST /app/installations/11/access_tokens",
        "GET /work",
        "GET /work",
    ]


@pytest.mark.usefixtures("database")
async def test_an_apps_token_is_renewed_five_minutes_before_it_runs_out(app: AppPlatform) -> None:
    credentials = _app_credentials(app)
    outbound = await credentials.outbound(GITHUB, project_key="acme/api")
    used = []

    for minutes in (0, 54, 2):
        app.time.seconds += minutes * 60
        used.append(await outbound.request("GET", "/work"))
    await credentials.close()

    assert used == ["ghs_token_number_1", "ghs_token_number_1", "ghs_token_number_2"]


@pytest.mark.usefixtures("database")
async def test_an_apps_refused_token_is_renewed_once(app: AppPlatform) -> None:
    credentials = _app_credentials(app)
    outbound = await credentials.outbound(GITHUB, project_key="acme/api")
    await outbound.request("GET", "/work")
    app.valid.clear()

    assert await outbound.request("GET", "/work") == "ghs_token_number_2"
    await credentials.close()


@pytest.mark.usefixtures("database")
async def test_an_apps_token_is_in_no_error(app: AppPlatform) -> None:
    credentials = _app_credentials(app)
    outbound = await credentials.outbound(GITHUB, project_key="acme/api")
    app.platform.faults.fail_next(
        "GET", "/work", status=404, body={"message": "ghs_token_number_1 sees nothing"}
    )

    with pytest.raises(UpstreamError) as caught:
        await outbound.request("GET", "/work")
    await credentials.close()

    assert str(caught.value) == "GET /work: answered 404, *** sees nothing"


@pytest.mark.usefixtures("database")
async def test_an_app_without_a_project_uses_its_only_installation(app: AppPlatform) -> None:
    credentials = _app_credentials(app)

    outbound = await credentials.outbound(GITHUB)
    assert await outbound.request("GET", "/work") == "ghs_token_number_1"
    assert await credentials.account(GITHUB) == Account(login="helper[bot]", id="123", is_bot=True)
    await credentials.close()


@pytest.mark.usefixtures("database")
async def test_an_app_that_is_not_installed_says_where(app: AppPlatform) -> None:
    credentials = _app_credentials(app)
    outbound = await credentials.outbound(GITHUB, project_key="acme/other")

    with pytest.raises(NotConfiguredError, match=r"the App is not installed on acme/other$"):
        await outbound.request("GET", "/work")
    await credentials.close()


@pytest.mark.usefixtures("database")
async def test_a_malformed_answer_about_the_app_is_an_upstream_error(app: AppPlatform) -> None:
    app.platform.faults.fail_next("POST", status=201, body=["odd"])
    credentials = _app_credentials(app)
    outbound = await credentials.outbound(GITHUB, project_key="acme/api")

    with pytest.raises(UpstreamError, match="cannot be read"):
        await outbound.request("GET", "/work")
    await credentials.close()
