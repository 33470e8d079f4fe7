"""Tests of /api/integrations: what is stored, what is shown, and where it may be sent."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aether.config import Settings
from aether.credentials import Credentials
from aether.crypto import Vault
from aether.db import rows
from aether.errors import NotConfiguredError
from aether.vocabulary import SourceName
from tests.core.fakes import FakeTime, Handler, Platform
from tests.doors.calls import TA_LEO, Door, actions, column, count, counts, details, without

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
OTHER_KEY: Final = "other-other-other-other-other-other-other"
TOKEN: Final = "ghp_0123456789abcdef1234"
OTHER_TOKEN: Final = "ghp_another_one_of_them_5678"
SENT: Final[dict[str, Any]] = {
    "source": "github",
    "name": "Project A GitHub Integration",
    "credentials": {"token": TOKEN},
}
MASKED: Final = {"token": "••••1234"}
REST_OF_IT: Final[dict[str, Any]] = {
    "agent_id": None,
    "project_id": None,
    "slug": None,
    "base_url": None,
    "webhook": None,
    "enabled": True,
    "error": None,
}
PROJECT: Final = {"name": "P", "source": "github", "source_project_id": "myorg/api-service"}

Configure = Callable[..., None]


@pytest.fixture
async def configure(door: Door) -> AsyncIterator[Configure]:
    """Starts anew with these settings; ENCRYPTION_KEY is set unless it is told to be empty."""
    async with FakeTime().clients() as clients:

        def configured(**told: str) -> None:
            settings = Settings.from_environment({"ENCRYPTION_KEY": KEY, **told})
            door.runtime.settings = settings
            door.runtime.credentials = Credentials(settings, clients)

        configured()
        yield configured


async def stored(door: Door, id: int) -> Any:
    """The credentials that the row holds."""
    found = await rows("SELECT credentials_encrypted AS it FROM integration WHERE id = $1", id)
    vault = Vault(door.runtime.settings.encryption_key)
    return json.loads(
        vault.decrypt(
            found[0]["it"], table="integration", column="credentials_encrypted", row_key=id
        )
    )


async def test_the_references_integration_is_stored_encrypted_and_shown_masked(
    door: Door, configure: Configure
) -> None:
    created = await door.post("/api/integrations", SENT)

    assert without(created, "id") == SENT | {"credentials": MASKED} | REST_OF_IT
    assert list(created)[:4] == ["id", "source", "name", "credentials"]
    assert await door.get("/api/integrations") == [created]
    assert await stored(door, created["id"]) == {"token": TOKEN}
    [row] = await rows("SELECT to_jsonb(integration)::text AS told FROM integration")
    assert TOKEN not in row["told"]
    given = {name: value for name, value in SENT.items() if name != "credentials"}
    assert await details("integration.created") == [
        {
            "integration_id": created["id"],
            "name": SENT["name"],
            "after": given | {"enabled": True},
        }
    ]


async def test_a_short_secret_is_masked_without_its_tail(door: Door, configure: Configure) -> None:
    sent = {"email": "leo@example.com", "api_token": "x" * 15, "more": "x" * 16}

    created = await door.post("/api/integrations", SENT | {"source": "jira", "credentials": sent})

    assert created["credentials"] == {"email": "••••", "api_token": "••••", "more": "••••xxxx"}


async def test_what_is_stored_is_what_a_run_of_that_agent_and_project_speaks_with(
    door: Door, configure: Configure
) -> None:
    async def headers(request: Request) -> Response:
        return JSONResponse({"told": request.headers["authorization"]})

    await door.post("/api/agents", TA_LEO)
    project = await door.post("/api/projects", PROJECT)
    with Platform({"/told": headers}).served() as platform:
        configure(GITHUB_API_URL=platform.url)
        owner = {"agent_id": "ta_leo", "project_id": project["id"], "base_url": platform.url}
        created = await door.post("/api/integrations", SENT | owner)
        speaker = door.runtime.credentials
        before = await speaker.outbound(
            SourceName.GITHUB, agent_id="ta_leo", project_id=project["id"]
        )
        path = f"/api/integrations/{created['id']}"

        assert await before.request("GET", "/told") == {"told": f"Bearer {TOKEN}"}
        await door.put(path, {"credentials": {"token": OTHER_TOKEN}})
        after = await speaker.outbound(
            SourceName.GITHUB, agent_id="ta_leo", project_id=project["id"]
        )
        assert await after.request("GET", "/told") == {"told": f"Bearer {OTHER_TOKEN}"}
        with pytest.raises(NotConfiguredError, match="GITHUB_TOKEN: not set"):
            await speaker.outbound(SourceName.GITHUB, agent_id="qa_quinn")


async def test_what_was_read_can_be_put_back_and_its_mask_changes_nothing(
    door: Door, configure: Configure
) -> None:
    webhook = {"header": "X-Sign", "secret": "a secret of the hook"}
    created = await door.post("/api/integrations", SENT | {"slug": "ours", "webhook": webhook})
    path = f"/api/integrations/{created['id']}"
    [before] = await rows("SELECT to_jsonb(integration)::text AS told FROM integration")

    assert await door.put(path, created) == created
    [after] = await rows("SELECT to_jsonb(integration)::text AS told FROM integration")
    renamed = await door.put(path, created | {"name": "Another"})

    assert after == before
    assert without(renamed, "name") == without(created, "name")
    assert renamed["name"] == "Another"
    assert await stored(door, created["id"]) == {"token": TOKEN}
    assert await details("integration.updated") == [
        {
            "integration_id": created["id"],
            "name": "Another",
            "changed": ["name"],
            "before": {"name": SENT["name"]},
            "after": {"name": "Another"},
        }
    ]


async def test_credentials_merge_key_by_key_and_null_removes_one(
    door: Door, configure: Configure
) -> None:
    created = await door.post("/api/integrations", SENT)
    path = f"/api/integrations/{created['id']}"

    added = await door.put(path, {"credentials": {"email": "leo@example.com"}})
    both = await stored(door, created["id"])
    removed = await door.put(path, {"credentials": {"token": None, "email": "••••"}})

    assert added["credentials"] == MASKED | {"email": "••••"}
    assert both == {"token": TOKEN, "email": "leo@example.com"}
    assert removed["credentials"] == {"email": "••••"}
    assert await stored(door, created["id"]) == {"email": "leo@example.com"}


async def test_a_new_value_replaces_the_secret(door: Door, configure: Configure) -> None:
    created = await door.post("/api/integrations", SENT)

    put = await door.put(
        f"/api/integrations/{created['id']}", {"credentials": {"token": OTHER_TOKEN}}
    )

    assert put["credentials"] == {"token": "••••5678"}
    assert await stored(door, created["id"]) == {"token": OTHER_TOKEN}
    [detail] = await details("integration.updated")
    assert detail == {
        "integration_id": created["id"],
        "name": SENT["name"],
        "changed": ["credentials"],
        "before": {},
        "after": {},
    }


@pytest.mark.parametrize(
    ("method", "body", "text"),
    [
        ("POST", SENT | {"name": "N", "credentials": MASKED}, "credentials.token"),
        ("PUT", {"credentials": {"key": "••••1234"}}, "credentials.key"),
        ("PUT", {"webhook": {"header": "X", "secret": "••••"}}, "webhook.secret"),
    ],
)
async def test_a_mask_is_never_stored_as_a_secret(
    door: Door, configure: Configure, method: str, body: dict[str, Any], text: str
) -> None:
    created = await door.post("/api/integrations", SENT)
    path = "/api/integrations" + ("" if method == "POST" else f"/{created['id']}")

    refused = await door.refused(method, path, body, 400)

    assert refused == f"{text}: is a mask, not a secret"
    assert await door.get("/api/integrations") == [created]


@pytest.mark.parametrize(
    "change", [{"base_url": "https://ghe.example.com"}, {"base_url": None}, {"source": "gitlab"}]
)
async def test_a_changed_address_needs_its_secrets_given_again(
    door: Door, configure: Configure, change: dict[str, Any]
) -> None:
    told = {"base_url": "https://github.example.com/api/v3", "credentials": {
        "token": TOKEN, "private_key": "k" * 20, "email": "leo@example.com",
    }}  # fmt: skip
    created = await door.post("/api/integrations", SENT | told)
    path = f"/api/integrations/{created['id']}"
    [name] = change

    without_any = await door.refused("PUT", path, change, 400)
    masked = await door.refused("PUT", path, created | change, 400)
    one = await door.refused("PUT", path, change | {"credentials": {"token": OTHER_TOKEN}}, 400)
    listed = await door.get("/api/integrations")
    again = {"token": OTHER_TOKEN, "private_key": None}
    put = await door.put(path, change | {"credentials": again})

    assert (
        without_any == masked == (f"credentials.token: must be given again, since {name} changes")
    )
    assert one == f"credentials.private_key: must be given again, since {name} changes"
    assert listed == [created]
    assert put[name] == change[name]
    assert await stored(door, created["id"]) == {"token": OTHER_TOKEN, "email": "leo@example.com"}


async def test_an_address_that_only_gains_a_slash_is_the_same(
    door: Door, configure: Configure
) -> None:
    created = await door.post("/api/integrations", SENT | {"base_url": "https://ghe.example.com"})

    put = await door.put(
        f"/api/integrations/{created['id']}", {"base_url": "https://ghe.example.com/"}
    )

    assert put["base_url"] == "https://ghe.example.com/"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("file:///etc/passwd", "must be an http:// or https:// address"),
        ("gopher://x", "must be an http:// or https:// address"),
        ("http://", "must be an http:// or https:// address"),
        ("http://user:pw@10.0.0.1", "must not hold a user name or a password"),
        ("https://user@example.com", "must not hold a user name or a password"),
        ("https://example.com/?a=b", "must not hold a query or a fragment"),
        ("https://exámple.com", "its host must be letters, digits, '.' and '-', or an IP"),
        ("https://%6cocalhost", "its host must be letters, digits, '.' and '-', or an IP"),
    ],
)
async def test_an_address_must_be_plain(
    door: Door, configure: Configure, address: str, text: str
) -> None:
    refused = await door.refused("POST", "/api/integrations", SENT | {"base_url": address}, 400)

    assert refused == f"base_url: {text}"
    assert await counts("integration", "audit_entry") == [0, 0]


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1",
        "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "10.0.0.1", "192.168.1.1",
        "172.16.0.1", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[fe80::1]", "[fc00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[ff02::1]",
    ],
)  # fmt: skip
async def test_an_inner_address_is_refused_when_it_is_saved(
    door: Door, configure: Configure, host: str
) -> None:
    sent = SENT | {"base_url": f"http://{host}:8080/api"}
    shown = host.strip("[]").lower().rstrip(".")

    refused = await door.refused("POST", "/api/integrations", sent, 400)

    assert refused == f"base_url: {shown} is an inner address; OUTBOUND_ALLOW can allow it"
    assert await counts("integration", "audit_entry") == [0, 0]


@pytest.mark.parametrize(
    ("setting", "value", "host"),
    [
        ("OUTBOUND_ALLOW", "10.0.0.0/8, gitlab.lan", "10.1.2.3"),
        ("OUTBOUND_ALLOW", "127.0.0.1", "127.0.0.1"),
        ("OUTBOUND_ALLOW", "fc00::/7", "[fc00::1]"),
        ("OUTBOUND_ALLOW", "LocalHost", "localhost"),
        ("GITLAB_URL", "http://192.168.1.5:8929", "192.168.1.5"),
        ("JIRA_URL", "http://localhost:8080", "localhost"),
        ("PORT", "8000", "gitlab.example.com"),
        ("PORT", "8000", "mcp-server"),
        ("PORT", "8000", "8.8.8.8"),
    ],
)
async def test_an_address_is_taken_that_is_public_or_a_name_or_allowed(
    door: Door, configure: Configure, setting: str, value: str, host: str
) -> None:
    configure(**{setting: value})

    created = await door.post("/api/integrations", SENT | {"base_url": f"http://{host}"})

    assert created["base_url"] == f"http://{host}"


async def test_an_address_beside_the_allowed_network_is_refused(
    door: Door, configure: Configure
) -> None:
    configure(OUTBOUND_ALLOW="10.0.0.0/8")

    refused = await door.refused(
        "POST", "/api/integrations", SENT | {"base_url": "http://192.168.0.1"}, 400
    )

    assert refused.startswith("base_url: 192.168.0.1 is an inner address")


async def test_an_allowed_port_is_no_other_port(door: Door, configure: Configure) -> None:
    configure(OUTBOUND_ALLOW="10.0.0.1:8080,localhost:443")
    at = [
        {"name": url, "base_url": url} for url in ("http://10.0.0.1:8080/api", "https://localhost")
    ]
    beside = [{"base_url": url} for url in ("http://10.0.0.1", "http://localhost")]

    taken = [await door.post("/api/integrations", SENT | one) for one in at]
    refused = [await door.refused("POST", "/api/integrations", SENT | one, 400) for one in beside]

    assert [one["base_url"] for one in taken] == [one["base_url"] for one in at]
    assert refused == [
        f"base_url: {host} is an inner address; OUTBOUND_ALLOW can allow it"
        for host in ("10.0.0.1", "localhost")
    ]


async def test_an_address_is_judged_when_it_changes(door: Door, configure: Configure) -> None:
    configure(OUTBOUND_ALLOW="10.0.0.0/8")
    created = await door.post("/api/integrations", SENT | {"base_url": "http://10.0.0.1"})
    configure()
    path = f"/api/integrations/{created['id']}"
    moved = {"base_url": "http://10.0.0.2", "credentials": {"token": OTHER_TOKEN}}

    refused = await door.refused("PUT", path, moved, 400)

    assert refused == "base_url: 10.0.0.2 is an inner address; OUTBOUND_ALLOW can allow it"
    assert await door.put(path, created) == created
    assert await stored(door, created["id"]) == {"token": TOKEN}


async def test_without_a_key_nothing_is_stored_and_what_there_is_is_still_listed(
    door: Door, configure: Configure
) -> None:
    created = await door.post("/api/integrations", SENT)
    configure(ENCRYPTION_KEY="")
    path = f"/api/integrations/{created['id']}"

    refused = await door.refused("POST", "/api/integrations", SENT | {"name": "N"}, 400)
    changed = await door.refused("PUT", path, {"credentials": {"token": OTHER_TOKEN}}, 400)
    renamed = await door.put(path, {"name": "Renamed"})

    told = "ENCRYPTION_KEY: not set; credentials are stored encrypted only"
    assert (refused, changed) == (told, told)
    assert renamed["credentials"] == {}
    assert renamed["error"] == f"its credentials cannot be decrypted: {told}"
    assert await count("integration") == 1
    configure()
    assert await stored(door, created["id"]) == {"token": TOKEN}


async def test_a_row_of_another_key_spoils_no_list_and_can_be_repaired(
    door: Door, configure: Configure
) -> None:
    webhook = {"header": "X-Sign", "secret": "a secret of the hook"}
    lost = await door.post("/api/integrations", SENT | {"webhook": webhook})
    configure(ENCRYPTION_KEY=OTHER_KEY)
    other = await door.post("/api/integrations", SENT | {"name": "Other"})
    path = f"/api/integrations/{lost['id']}"

    listed = await door.get("/api/integrations")
    put_back = await door.put(path, listed[0])
    moved = await door.refused("PUT", path, {"base_url": "https://ghe.example.com"}, 400)
    with pytest.raises(NotConfiguredError, match="ENCRYPTION_KEY"):
        await door.runtime.credentials.outbound(SourceName.GITHUB)
    repaired = await door.put(path, {"credentials": {"token": OTHER_TOKEN}})

    assert listed[1] == other
    assert listed[0]["credentials"] == {}
    assert listed[0]["error"].startswith("its credentials cannot be decrypted: ENCRYPTION_KEY: ")
    assert listed[0]["webhook"]["secret"] == "••••"
    assert put_back == listed[0]
    assert moved == "credentials: must be given again, since base_url changes"
    assert (repaired["credentials"], repaired["error"]) == ({"token": "••••5678"}, None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"source": "bitbucket"}, "source: one of github, gitlab, jira, plane"),
        ({"name": " "}, "name: must not be blank"),
        ({"credentials": "ghp_secret"}, "credentials: must be an object"),
        ({"credentials": {"token": 7}}, "credentials.token: must be text"),
        ({"credentials": {"token": ""}}, "credentials.token: must not be empty"),
        ({"credentials": {"token": " "}}, "credentials.token: must not be blank"),
        ({"credentials": {"token": None}}, "credentials.token: must be text"),
        ({"agent_id": "nobody"}, "agent_id: agent 'nobody' does not exist"),
        ({"project_id": 42}, "project_id: project 42 does not exist"),
        ({"slug": "jira"}, "slug: must not be jira, which is the source's own"),
        ({"slug": "A b"}, "slug: "),
        ({"enabled": 1}, "enabled: must be true or false"),
        ({"token": "x"}, "token: unknown field"),
        ({"webhook": {"algorithm": "md5"}},
         "webhook.algorithm: one of sha256, sha512, sha1, bearer"),
        ({"webhook": {"algorithm": "sha1"}}, "webhook.header: required with the rest of it"),
        ({"webhook": {"header": "X Y"}},
         "webhook.header: must be the name of a header, such as X-Signature-256"),
        ({"webhook": {"header": ""}},
         "webhook.header: must be the name of a header, such as X-Signature-256"),
        ({"webhook": {"header": "X", "window_seconds": 60}},
         "webhook.timestamp_header: required with window_seconds"),
        ({"webhook": {"header": "X", "algorithm": "bearer", "timestamp_header": "T"}},
         "webhook.timestamp_header: has no meaning for a bearer secret"),
        ({"webhook": {"header": "X", "window_seconds": 0}},
         "webhook.window_seconds: must be at least 1"),
    ],
)  # fmt: skip
async def test_an_integration_that_is_not_valid_is_refused_naming_the_field(
    door: Door, configure: Configure, change: dict[str, Any], text: str
) -> None:
    refused = await door.refused("POST", "/api/integrations", SENT | change, 400)

    assert refused == text or (text.endswith(": ") and refused.startswith(text))
    assert "ghp_" not in refused
    assert await counts("integration", "audit_entry") == [0, 0]


@pytest.mark.parametrize("field", ["source", "name", "credentials"])
async def test_what_an_integration_needs_is_required(
    door: Door, configure: Configure, field: str
) -> None:
    body = {name: value for name, value in SENT.items() if name != field}

    assert await door.refused("POST", "/api/integrations", body, 400) == f"{field}: required"


async def test_names_and_slugs_are_taken_once(door: Door, configure: Configure) -> None:
    first = await door.post("/api/integrations", SENT | {"slug": "ours"})
    second = await door.post("/api/integrations", SENT | {"name": "Second"})
    path = f"/api/integrations/{second['id']}"

    told = [
        await door.refused("POST", "/api/integrations", SENT, 409),
        await door.refused("POST", "/api/integrations", SENT | {"name": "N", "slug": "ours"}, 409),
        await door.refused("PUT", path, {"name": SENT["name"]}, 409),
        await door.refused("PUT", path, {"slug": "ours"}, 409),
    ]

    assert told == [
        "integration 'Project A GitHub Integration' already exists",
        "slug 'ours' is taken by another integration",
        "another integration already has this name",
        "slug 'ours' is taken by another integration",
    ]
    assert await door.get("/api/integrations") == [first, second]


async def test_of_ten_who_create_one_integration_at_once_one_succeeds(
    door: Door, configure: Configure
) -> None:
    answers = await asyncio.gather(
        *(door.client.post("/api/integrations", json=SENT) for _ in range(10))
    )

    assert Counter(one.status_code for one in answers) == {201: 1, 409: 9}
    assert await actions() == ["integration.created"]


async def test_an_agents_integrations_change_and_go_with_it_at_once_without_a_deadlock(
    door: Door, configure: Configure
) -> None:
    await door.post("/api/agents", TA_LEO)
    made = [
        await door.post("/api/integrations", SENT | {"name": f"N{number}", "agent_id": "ta_leo"})
        for number in range(6)
    ]

    answers = await asyncio.gather(
        *(door.client.put(f"/api/integrations/{one['id']}", json=one | {"enabled": False})
          for one in made),
        door.client.delete("/api/agents/ta_leo"),
        *(door.client.post("/api/integrations",
                           json=SENT | {"name": f"M{number}", "agent_id": "ta_leo"})
          for number in range(6)),
    )  # fmt: skip

    assert {one.status_code for one in answers} <= {200, 201, 400, 404}
    assert await counts("agent", "integration") == [0, 0]


async def test_a_deleted_integration_is_gone(door: Door, configure: Configure) -> None:
    created = await door.post("/api/integrations", SENT)
    path = f"/api/integrations/{created['id']}"

    assert await door.delete(path) == {"deleted": created["id"]}

    assert await door.get("/api/integrations") == []
    assert await door.refused("DELETE", path, None, 404) == (
        f"integration {created['id']} not found"
    )
    assert await actions() == ["integration.created", "integration.deleted"]


@pytest.mark.parametrize("id", ["abc", "0", "-1", "2147483648", "9" * 40])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_integration_id_that_cannot_be_is_a_404(
    door: Door, configure: Configure, method: str, id: str
) -> None:
    body: Any = {} if method == "PUT" else None

    text = await door.refused(method, f"/api/integrations/{id}", body, 404)

    assert text.startswith("integration ")


async def test_integrations_are_listed_oldest_first_and_by_what_they_are_for(
    door: Door, configure: Configure
) -> None:
    await door.post("/api/agents", TA_LEO)
    project = await door.post("/api/projects", PROJECT)
    for number, change in enumerate(
        [{"agent_id": "ta_leo"}, {"source": "jira"}, {"project_id": project["id"]}]
    ):
        await door.post("/api/integrations", SENT | {"name": f"N{number}"} | change)

    listed = await door.get("/api/integrations")

    assert column(listed, "name") == ["N0", "N1", "N2"]
    assert await door.get("/api/integrations?agent_id=ta_leo") == listed[:1]
    assert await door.get(f"/api/integrations?project_id={project['id']}") == listed[2:]
    assert await door.get("/api/integrations?source=jira&enabled=true") == listed[1:2]
    assert await door.get("/api/integrations?limit=1&offset=1") == listed[1:2]


ACCOUNTS: Final[dict[str, tuple[str, dict[str, str], str, str, dict[str, Any]]]] = {
    "github": ("GITHUB_API_URL", {"GITHUB_TOKEN": TOKEN}, "/user",
               f"Bearer {TOKEN}", {"login": "leo", "id": 1}),
    "gitlab": ("GITLAB_URL", {"GITLAB_TOKEN": TOKEN}, "/api/v4/user",
               TOKEN, {"username": "leo", "id": 1}),
    "jira": ("JIRA_URL", {"JIRA_API_TOKEN": TOKEN}, "/rest/api/2/myself",
             f"Bearer {TOKEN}", {"accountId": "1"}),
    "plane": ("PLANE_URL", {"PLANE_API_KEY": TOKEN, "PLANE_WORKSPACE": "me"}, "/api/v1/{me:path}",
              TOKEN, {"id": "1"}),
}  # fmt: skip


def answering(status: int, body: dict[str, Any], seen: list[str]) -> Handler:
    async def handler(request: Request) -> Response:
        headers = request.headers
        told = (headers.get(name) for name in ("authorization", "private-token", "x-api-key"))
        seen.append(next(one for one in told if one is not None))
        return JSONResponse(body, status)

    return handler


@pytest.mark.parametrize("source", ACCOUNTS)
async def test_the_references_test_asks_each_platform_who_we_are(
    door: Door, configure: Configure, source: str
) -> None:
    setting, secrets, path, header, account = ACCOUNTS[source]
    seen: list[str] = []
    with Platform({path: answering(200, account, seen)}).served() as platform:
        configure(**{setting: platform.url}, **secrets)

        assert await door.get(f"/api/integrations/{source}/test") == {
            "status": "ok",
            "source": source,
        }

    assert seen == [header] * (2 if source == "plane" else 1)  # Plane's workspace is asked for too


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "GITHUB_TOKEN: github refuses it: GET /user: answered 401, Bad ***"),
        (403, "GITHUB_TOKEN: it lacks the right to ask whose it is: "
              "GET /user: answered 403, Bad ***"),
        (404, "GITHUB_API_URL: there is no API of github at this address: "
              "GET /user: answered 404, Bad ***"),
        (500, "github: GET /user: answered 500, Bad ***"),
    ],
)  # fmt: skip
async def test_a_platform_that_refuses_is_a_502_that_says_what_is_wrong(
    door: Door, configure: Configure, status: int, text: str
) -> None:
    with Platform({"/user": answering(status, {"message": f"Bad {TOKEN}"}, [])}).served() as github:
        configure(GITHUB_API_URL=github.url, GITHUB_TOKEN=TOKEN)

        refused = await door.refused("GET", "/api/integrations/github/test", None, 502)

    assert refused == text


async def test_a_platform_that_cannot_be_reached_is_a_502_that_says_so(
    door: Door, configure: Configure
) -> None:
    configure(GITHUB_API_URL="http://127.0.0.1:9", GITHUB_TOKEN=TOKEN)

    refused = await door.refused("GET", "/api/integrations/github/test", None, 502)

    assert refused.startswith("127.0.0.1:9 cannot be reached: GET /user: ")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("github", "GITHUB_TOKEN: not set"),
        ("gitlab", "GITLAB_TOKEN: not set"),
        ("jira", "JIRA_API_TOKEN: not set"),
        ("plane", "PLANE_API_KEY: not set"),
    ],
)
async def test_a_platform_without_a_credential_is_a_400_that_names_the_setting(
    door: Door, configure: Configure, source: str, text: str
) -> None:
    await door.post("/api/integrations", SENT)  # which the test of the environment never uses

    assert await door.refused("GET", f"/api/integrations/{source}/test", None, 400) == text


async def test_jira_without_its_address_is_a_400_that_names_it(
    door: Door, configure: Configure
) -> None:
    configure(JIRA_API_TOKEN=TOKEN)

    refused = await door.refused("GET", "/api/integrations/jira/test", None, 400)

    assert refused == "JIRA_URL: not set"


async def test_jira_s_refusals_say_what_to_look_at(door: Door, configure: Configure) -> None:
    captcha = {"X-Seraph-LoginReason": "AUTHENTICATION_DENIED"}

    async def denied(_: Request) -> Response:
        return Response("", 403, captcha)

    for answer, told in (
        (answering(401, {}, []), "JIRA_API_TOKEN: jira refuses it (sent as Bearer, since JIRA_EMAIL"
         " is not set; Jira Cloud's tokens need it): GET /rest/api/2/myself: answered 401"),
        (denied, "JIRA_API_TOKEN: it lacks the right to ask whose it is: GET /rest/api/2/myself: "
         "answered 403, after too many failed logins the account has to solve a CAPTCHA: log in "
         "to the platform in a browser once"),
        (answering(404, {}, []), "JIRA_URL: there is no API of jira at this address: "
         "GET /rest/api/2/myself: answered 404"),
    ):  # fmt: skip
        with Platform({"/jira/rest/api/2/myself": answer}).served() as jira:
            configure(JIRA_URL=f"{jira.url}/jira", JIRA_API_TOKEN=TOKEN)

            assert await door.refused("GET", "/api/integrations/jira/test", None, 502) == told


async def test_a_platform_that_we_do_not_know_is_a_404(door: Door, configure: Configure) -> None:
    refused = await door.refused("GET", "/api/integrations/bitbucket/test", None, 404)

    assert refused == "source 'bitbucket' not found"
