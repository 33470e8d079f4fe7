"""A mask that comes back over GraphQL stands for the stored secret, and never replaces it."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from aether.config import Settings
from aether.crypto import Vault
from aether.db import rows
from tests.schema.both import Doors, both_doors
from tests.schema.test_resources_integrations import CREATE, HOOK, KEY, SENT, UPDATE
from tests.schema.test_resources_mcp import CREATE as MCP_CREATE
from tests.schema.test_resources_mcp import UPDATE as MCP_UPDATE

TOKEN: Final = SENT["credentials"]["token"]
PROOF: Final = "a secret of the hook"
BEARER: Final = "Bearer sk-0123456789abcdef1234"
NEW: Final = "ghp_a_new_one_0123456789"
READ: Final = f"""{{ integrations {{ source name credentials agentId projectId slug baseUrl enabled
  webhook {{ {HOOK} }} }} mcpServers {{ name url agentId transport headers enabled }} }}"""


@pytest.fixture
async def doors(database: str) -> AsyncIterator[Doors]:
    async with both_doors() as ours:
        ours.runtime.settings = Settings.from_environment({"ENCRYPTION_KEY": KEY})
        yield ours


async def integration(doors: Doors) -> str:
    hook = {"header": "X-Sign", "algorithm": "SHA256", "secret": PROOF}
    made = await doors.ask(CREATE, i=SENT | {"slug": "ours", "webhook": hook})
    return str(made["integrationCreate"]["id"])


async def mcp_server(doors: Doors) -> str:
    sent = {"name": "Docs", "url": "http://mcp.example:80", "headers": {"Authorization": BEARER}}
    return str((await doors.ask(MCP_CREATE, i=sent))["mcpServerCreate"]["id"])


async def stored(table: str, column: str) -> Any:
    """What is encrypted there, in the clear."""
    [found] = await rows(f"SELECT id, {column} AS sealed FROM {table}")  # noqa: S608 # our names
    vault = Vault(Settings.from_environment({"ENCRYPTION_KEY": KEY}).encryption_key)
    return vault.decrypt(found["sealed"], table=table, column=column, row_key=found["id"])


async def test_an_integration_that_was_read_is_put_back_with_another_name(doors: Doors) -> None:
    made = await integration(doors)
    [read] = (await doors.ask(READ))["integrations"]

    await doors.ask(UPDATE, id=made, c=read | {"name": "Another"})

    [again] = (await doors.ask(READ))["integrations"]
    assert read["credentials"] == {"token": "••••1234"}
    assert again == read | {"name": "Another"}
    assert json.loads(await stored("integration", "credentials_encrypted")) == {"token": TOKEN}
    assert await stored("integration", "webhook_secret_encrypted") == PROOF


async def test_beside_a_mask_a_new_secret_is_taken_and_null_removes_one(doors: Doors) -> None:
    made = await integration(doors)

    await doors.ask(
        UPDATE, id=made, c={"credentials": {"token": "••••1234", "email": "a@b.example"}}
    )
    both = json.loads(await stored("integration", "credentials_encrypted"))
    await doors.ask(UPDATE, id=made, c={"credentials": {"token": NEW, "email": None}})

    assert both == {"token": TOKEN, "email": "a@b.example"}
    assert json.loads(await stored("integration", "credentials_encrypted")) == {"token": NEW}


@pytest.mark.parametrize("mask", ["••••", "••••1234", "••••anything"])
async def test_a_mask_of_what_is_not_there_is_refused_and_nothing_is_written(
    doors: Doors, mask: str
) -> None:
    made = await integration(doors)

    told = await doors.refused_by_graphql(
        UPDATE, id=made, c={"name": "N", "credentials": {"k": mask}}
    )

    assert told == ("credentials.k: is a mask, not a secret", "INVALID_INPUT")
    [read] = (await doors.ask(READ))["integrations"]
    assert (read["name"], read["credentials"]) == (SENT["name"], {"token": "••••1234"})


async def test_an_mcp_server_that_was_read_is_put_back_with_another_name(doors: Doors) -> None:
    made = await mcp_server(doors)
    [read] = (await doors.ask(READ))["mcpServers"]

    await doors.ask(MCP_UPDATE, id=made, c=read | {"name": "Another"})
    kept = json.loads(await stored("mcp_server", "headers_encrypted"))
    await doors.ask(MCP_UPDATE, id=made, c={"headers": {"authorization": "••••1234", "X-A": "b"}})

    assert read["headers"] == {"Authorization": "••••1234"}
    assert kept == {"Authorization": BEARER}
    assert json.loads(await stored("mcp_server", "headers_encrypted")) == {
        "Authorization": BEARER, "X-A": "b",
    }  # fmt: skip


async def test_what_rest_has_read_may_come_back_over_graphql_and_the_other_way_round(
    doors: Doors,
) -> None:
    made = await integration(doors)
    [by_rest] = await doors.get("/api/integrations")

    await doors.ask(UPDATE, id=made, c={"name": "N", "credentials": by_rest["credentials"]})
    [by_graphql] = (await doors.ask(READ))["integrations"]
    await doors.put(f"/api/integrations/{made}", {"credentials": by_graphql["credentials"]})

    assert json.loads(await stored("integration", "credentials_encrypted")) == {"token": TOKEN}
