"""Lets a process know every secret that is stored, so that no text it passes on holds one.

Asked before each run, chat and poll: whoever quotes a secret may quote another than the one that is
being used.
"""

import json
from typing import Final

from aether.config import Settings
from aether.credential_store import CREDENTIALS_COLUMN, PUBLIC_NAMES, TABLE
from aether.crypto import Vault
from aether.db import rows
from aether.errors import NotConfiguredError
from aether.proofs import PROOF_COLUMN
from aether.redact import learn
from aether.tools.mcp_servers import open_headers

MOST_SEEN: Final = 20_000

_seen: Final[set[str]] = set()
"""Ciphertexts that have been looked at; each is new when its secret is."""


async def learn_stored(settings: Settings) -> None:
    """Learn what has been stored since this was last asked; what cannot be decrypted is no matter.

    Raises:
        OSError, asyncpg.PostgresError: the database is out of reach.
    """
    vault = Vault(settings.encryption_key)
    if not vault.has_key:
        return
    if len(_seen) > MOST_SEEN:
        _seen.clear()
    integrations = await rows(
        f"SELECT id, {CREDENTIALS_COLUMN}, {PROOF_COLUMN} FROM {TABLE}"  # noqa: S608 # our names
    )
    for one in integrations:
        for column in (CREDENTIALS_COLUMN, PROOF_COLUMN):
            _learn(vault, int(one["id"]), column, one[column])
    servers = await rows(
        "SELECT id, headers_encrypted FROM mcp_server WHERE headers_encrypted IS NOT NULL"
    )
    for server in servers:
        if _is_new(server["headers_encrypted"]):
            try:
                open_headers(vault, int(server["id"]), server["headers_encrypted"])
            except NotConfiguredError:
                continue


def forget() -> None:
    """Look at everything anew."""
    _seen.clear()


def _learn(vault: Vault, id: int, column: str, sealed: str | None) -> None:
    if sealed is None or not _is_new(sealed):
        return
    try:
        plain = vault.decrypt(sealed, table=TABLE, column=column, row_key=id)
    except NotConfiguredError:
        return
    if column == PROOF_COLUMN:
        learn([plain])
        return
    told = json.loads(plain)
    if isinstance(told, dict):
        learn(str(value) for name, value in told.items() if value and name not in PUBLIC_NAMES)


def _is_new(sealed: str) -> bool:
    is_new = sealed not in _seen
    _seen.add(sealed)
    return is_new
