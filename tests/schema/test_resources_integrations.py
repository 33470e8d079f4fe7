"""Integrations over GraphQL, and that both doors say the same and show no secret."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.credentials import Credentials
from tests.core.fakes import FakeTime
from tests.doors.calls import TA_LEO, actions, column, counts
from tests.schema.both import Doors, both_doors

KEY: Final = "key-key-key-key-key-key-key-key-key-key"
TOKEN: Final = "ghp_0123456789abcdef1234"
SENT: Final[dict[str, Any]] = {
    "source": "GITHUB", "name": "Project A", "credentials": {"token": TOKEN},
}  # fmt: skip
REST_BODY: Final[dict[str, Any]] = SENT | {"source": "github"}
HOOK: Final = "header algorithm prefix encoding timestampHeader windowSeconds secret"
FIELDS: Final = f"""id source name credentials agentId projectId slug baseUrl enabled error
  webhook {{ {HOOK} }}"""
CREATE: Final = (
    f"mutation ($i: IntegrationInput!) {{ integrationCreate(input: $i) {{ {FIELDS} }} }}"
)
UPDATE: Final = f"""mutation ($id: ID!, $c: IntegrationChangesInput!) {{
  integrationUpdate(id: $id, changes: $c) {{ {FIELDS} }} }}"""
TEST: Final = "query ($s: SourceName!) { integrationTest(source: $s) { status source } }"


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours, FakeTime().clients() as clients:
        settings = Settings.from_environment({"ENCRYPTION_KEY": KEY})
        ours.runtime.settings = settings
        ours.runtime.credentials = Credentials(settings, clients)
        yield ours


async def test_an_integration_is_created_changed_listed_and_deleted_without_showing_a_secret(
    doors: Doors,
) -> None:
    await doors.post("/api/agents", TA_LEO)
    webhook = {"header": "X-Sign", "algorithm": "SHA512", "secret": "a secret of the hook"}
    sent = SENT | {"agentId": "ta_leo", "slug": "ours", "webhook": webhook}

    made = (await doors.ask(CREATE, i=sent))["integrationCreate"]
    back = {name: one for name, one in made.items() if name not in {"id", "error"}}
    same = await doors.ask(UPDATE, id=made["id"], c=back)
    changed = await doors.ask(UPDATE, id=made["id"], c={"name": "N", "webhook": {"prefix": "v="}})
    listed = await doors.ask(f'{{ integrations(agentId: "ta_leo") {{ {FIELDS} }} }}')
    by_rest = await doors.get("/api/integrations")
    deleted = await doors.ask(f'mutation {{ integrationDelete(id: "{made["id"]}") }}')

    shown = {
        "header": "X-Sign", "algorithm": "SHA512", "prefix": None, "encoding": None,
        "timestampHeader": None, "windowSeconds": None, "secret": "••••hook",
    }  # fmt: skip
    assert back == sent | {
        "credentials": {"token": "••••1234"}, "webhook": shown, "projectId": None, "baseUrl": None,
        "enabled": True,
    }  # fmt: skip
    assert same == {"integrationUpdate": made}
    expected = made | {"name": "N", "webhook": shown | {"prefix": "v="}}
    assert changed == {"integrationUpdate": expected}
    assert listed == {"integrations": [expected]}
    assert column(by_rest, "credentials") == [{"token": "••••1234"}]
    assert deleted == {"integrationDelete": made["id"]}
    assert await actions() == [
        "agent.created", "integration.created", "integration.updated", "integration.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rest", "graphql", "text"),
    [
        ({"name": ""}, {"name": ""}, "name: must not be empty"),
        ({"credentials": {"token": 7}}, {"credentials": {"token": 7}},
         "credentials.token: must be text"),
        ({"credentials": {"token": "••••1234"}}, {"credentials": {"token": "••••1234"}},
         "credentials.token: is a mask, not a secret"),
        ({"webhook": {"prefix": "x"}}, {"webhook": {"prefix": "x"}},
         "webhook.header: required with the rest of it"),
        ({"webhook": {"header": "X Y"}}, {"webhook": {"header": "X Y"}},
         "webhook.header: must be the name of a header, such as X-Signature-256"),
    ],
)  # fmt: skip
async def test_what_is_not_valid_is_refused_in_the_same_words(
    doors: Doors, rest: Any, graphql: Any, text: str
) -> None:
    told = await doors.refused_by_graphql(CREATE, i=SENT | graphql)

    assert told == (text, "INVALID_INPUT")
    assert await doors.refused("POST", "/api/integrations", REST_BODY | rest, 400) == text
    assert await counts("integration", "audit_entry") == [0, 0]


@pytest.mark.parametrize(
    ("rest", "graphql", "text"),
    [
        ({"agent_id": "nobody"}, {"agentId": "nobody"}, "agent 'nobody' does not exist"),
        ({"project_id": 7}, {"projectId": "7"}, "project 7 does not exist"),
        ({"base_url": "http://169.254.169.254"}, {"baseUrl": "http://169.254.169.254"},
         "169.254.169.254 is an inner address; OUTBOUND_ALLOW can allow it"),
    ],
)  # fmt: skip
async def test_what_only_the_database_knows_is_refused_naming_each_doors_field(
    doors: Doors, rest: Any, graphql: Any, text: str
) -> None:
    told = await doors.refused_by_graphql(CREATE, i=SENT | graphql)

    [name], [wire] = graphql, rest
    assert told == (f"{name}: {text}", "INVALID_INPUT")
    refused = await doors.refused("POST", "/api/integrations", REST_BODY | rest, 400)
    assert refused == f"{wire}: {text}"
    assert await counts("integration", "audit_entry") == [0, 0]


async def test_a_name_of_the_users_choosing_is_told_as_it_was_sent(doors: Doors) -> None:
    mask = {"credentials": {"api_token": "••••1234"}}

    told = await doors.refused_by_graphql(CREATE, i=SENT | mask)

    assert told == ("credentials.api_token: is a mask, not a secret", "INVALID_INPUT")


async def test_what_is_made_by_one_door_is_taken_at_both(doors: Doors) -> None:
    await doors.post("/api/integrations", REST_BODY)

    told = await doors.refused_by_graphql(CREATE, i=SENT)

    assert told == ("integration 'Project A' already exists", "CONFLICT")
    assert await doors.refused("POST", "/api/integrations", REST_BODY, 409) == told[0]


async def test_without_a_key_nothing_is_stored(doors: Doors) -> None:
    doors.runtime.settings = Settings.from_environment({})

    told = await doors.refused_by_graphql(CREATE, i=SENT)

    assert told == (
        "ENCRYPTION_KEY: not set; credentials are stored encrypted only", "NOT_CONFIGURED",
    )  # fmt: skip
    assert await doors.refused("POST", "/api/integrations", REST_BODY, 400) == told[0]
    assert await counts("integration", "audit_entry") == [0, 0]


async def test_what_is_not_there_is_not_found_at_both(doors: Doors) -> None:
    delete = "mutation ($id: ID!) { integrationDelete(id: $id) }"

    told = [
        await doors.refused_by_graphql(delete, id="7"),
        await doors.refused_by_graphql(UPDATE, id="7", c={"name": "N"}),
    ]

    assert told == [("integration 7 not found", "NOT_FOUND")] * 2
    assert await doors.refused("DELETE", "/api/integrations/7", None, 404) == told[0][0]


async def test_a_credential_that_is_not_set_is_told_in_the_same_words(doors: Doors) -> None:
    told = await doors.refused_by_graphql(TEST, s="GITLAB")

    assert told == ("GITLAB_TOKEN: not set", "NOT_CONFIGURED")
    assert await doors.refused("GET", "/api/integrations/gitlab/test", None, 400) == told[0]


async def test_a_platform_that_cannot_be_reached_is_told_in_the_same_words(doors: Doors) -> None:
    environment = {"PLANE_URL": "http://127.0.0.1:9", "PLANE_API_KEY": TOKEN}
    async with FakeTime().clients() as clients:
        settings = Settings.from_environment(environment)
        doors.runtime.settings = settings
        doors.runtime.credentials = Credentials(settings, clients)

        told, code = await doors.refused_by_graphql(TEST, s="PLANE")
        by_rest = await doors.refused("GET", "/api/integrations/plane/test", None, 502)

    assert code == "UPSTREAM_FAILED"
    assert told.startswith("127.0.0.1:9 cannot be reached: GET /api/v1/users/me/: ")
    assert by_rest == told
