"""Integrations: credentials of an agent's or a project's own, stored encrypted, never shown."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field

from aether import audit
from aether.credential_store import CREDENTIALS_COLUMN, PUBLIC_NAMES, TABLE
from aether.crypto import Vault, mask
from aether.db import row, transaction
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, NotConfiguredError, NotFoundError
from aether.models import Integration
from aether.proofs import PROOF_COLUMN
from aether.redact import learn
from aether.vocabulary import SourceName
from resolvers.addresses import check_reach
from resolvers.fields import (
    ABSENT,
    Flag,
    HttpAddress,
    Input,
    Name,
    Positive,
    Source,
)
from resolvers.mappings import OwnSlug
from resolvers.rows import (
    LARGEST_ID,
    All,
    KeyRef,
    Label,
    as_given,
    criteria,
    differences,
    each,
    lock,
    page,
    unique,
)
from resolvers.secrets import IS_A_MASK, Secret, SecretOrMask, is_mask
from resolvers.webhook_proofs import ShownWebhook, Webhook, shown_webhook, webhook_columns


class NewIntegration(Input):
    """An integration to create."""

    source: Source
    name: Name
    credentials: Annotated[dict[Label, Secret], Field(max_length=50)]
    agent_id: KeyRef | None = None
    project_id: Positive | None = None
    slug: OwnSlug | None = None
    base_url: HttpAddress | None = None
    webhook: Webhook | None = None
    enabled: Flag = True


class IntegrationChanges(Input):
    """What to change of an integration; what is absent stays. Credentials merge key by key.

    A credential that is null is removed.
    """

    source: Source = ABSENT
    name: Name = ABSENT
    credentials: Annotated[dict[Label, SecretOrMask | None], Field(max_length=50)] = ABSENT
    agent_id: KeyRef | None = ABSENT
    project_id: Positive | None = ABSENT
    slug: OwnSlug | None = ABSENT
    base_url: HttpAddress | None = ABSENT
    webhook: Webhook | None = ABSENT
    enabled: Flag = ABSENT


class IntegrationFilter(All):
    """Which integrations."""

    source: Source | None = None
    agent_id: KeyRef | None = None
    project_id: Positive | None = None
    enabled: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class ShownIntegration:
    """An integration as anybody may see it: masks for secrets.

    ``error`` says why it cannot be used; its credentials are then empty.
    """

    id: int
    source: SourceName
    name: str
    credentials: dict[str, str]
    agent_id: str | None
    project_id: int | None
    slug: str | None
    base_url: str | None
    webhook: ShownWebhook | None
    enabled: bool
    error: str | None
    created_at: datetime
    updated_at: datetime


async def list_integrations(wanted: IntegrationFilter) -> list[ShownIntegration]:
    """Integrations, oldest first; one that cannot be decrypted says so and spoils no other."""
    vault = _vault()
    found = await page(Integration.filter(**criteria(wanted)).order_by("id"), wanted)
    return [_shown(vault, one) for one in found]


async def integrations_of(ids: list[int]) -> list[ShownIntegration | None]:
    """Integrations in the order of ``ids``; None: no such one."""
    vault = _vault()
    return [_shown(vault, one) if one is not None else None for one in await each(Integration, ids)]


async def create_integration(new: NewIntegration) -> ShownIntegration:
    """Store credentials, encrypted.

    Raises:
        NotConfiguredError: there is no ENCRYPTION_KEY; nothing is stored.
        InvalidInputError: the agent or project does not exist, ``base_url`` is an inner address,
            or ``webhook`` does not fit together.
        ConflictError: the name or the slug is taken.
    """
    vault = _vault()
    vault.check()
    if new.base_url is not None:
        check_reach(runtime().settings, new.base_url, field="base_url")
    slug = f"slug {new.slug!r} is taken by another integration"
    with unique(f"integration {new.name!r} already exists", slug=slug):
        async with transaction():
            await _check_references(new.agent_id, new.project_id)
            number = await _next_id()
            one = await Integration.create(
                id=number,
                **new.model_dump(exclude={"credentials", "webhook"}),
                **webhook_columns(vault, number, new.webhook),
                credentials_encrypted=_sealed(vault, number, new.credentials),
            )
            await _record("created", one, after=as_given(one, NewIntegration, without=SECRET))
    return _shown(vault, one)


async def update_integration(id: int, changes: IntegrationChanges) -> ShownIntegration:
    """Change an integration; a mask leaves the secret that it stands for.

    Raises:
        NotFoundError: there is no such integration.
        InvalidInputError: as for creation; also if ``base_url`` or ``source`` changes and not
            every secret is given again, which would travel there.
        NotConfiguredError: a secret is given, and there is no ENCRYPTION_KEY.
        ConflictError: another integration has the name or the slug.
    """
    vault = _vault()
    slug = f"slug {changes.slug!r} is taken by another integration"
    with unique("another integration already has this name", slug=slug):
        async with transaction():
            # In this order: whoever deletes an agent holds its row before its integrations'.
            await _check_references(changes.agent_id, changes.project_id)
            one = await lock(Integration, "integration", id)
            if changes.base_url is not None and changes.base_url != one.base_url:
                check_reach(runtime().settings, changes.base_url, field="base_url")
            plain = changes.model_dump(exclude={"credentials", "webhook"}, exclude_unset=True)
            columns = {
                **plain,
                **_credential_columns(vault, one, changes, _moving(one, plain)),
                **_webhook_columns(vault, one, changes),
            }
            await _write(one, columns)
    return _shown(vault, one)


async def delete_integration(id: int) -> None:
    """Delete an integration with its secrets, or NotFoundError."""
    if not 0 < id <= LARGEST_ID:
        raise NotFoundError("integration", id)
    async with transaction():
        one = await lock(Integration, "integration", id)
        await one.delete()
        await _record("deleted", one, before=as_given(one, NewIntegration, without=SECRET))


def _vault() -> Vault:
    return Vault(runtime().settings.encryption_key)


async def _next_id() -> int:
    """The id of the row to come: its ciphertexts are bound to it."""
    told = await row("SELECT nextval(pg_get_serial_sequence('integration', 'id')) AS id")
    assert told is not None  # noqa: S101 - a sequence always has a next value
    return int(told["id"])


async def _check_references(agent_id: str | None, project_id: int | None) -> None:
    """Hold what is referred to until the transaction ends."""
    if agent_id is not None and not await row(
        "SELECT 1 FROM agent WHERE id = $1 FOR KEY SHARE", agent_id
    ):
        raise InvalidInputError("agent_id", f"agent {agent_id!r} does not exist")
    if project_id is not None and not await row(
        "SELECT 1 FROM project WHERE id = $1 FOR KEY SHARE", project_id
    ):
        raise InvalidInputError("project_id", f"project {project_id} does not exist")


def _sealed(vault: Vault, id: int, credentials: Mapping[str, str]) -> str:
    plain = json.dumps(dict(credentials))
    return vault.encrypt(plain, table=TABLE, column=CREDENTIALS_COLUMN, row_key=id)


def _opened(vault: Vault, one: Integration) -> dict[str, str]:
    """The stored credentials.

    Raises:
        NotConfiguredError: they cannot be decrypted.
    """
    plain = vault.decrypt(
        one.credentials_encrypted, table=TABLE, column=CREDENTIALS_COLUMN, row_key=one.id
    )
    opened: dict[str, str] = json.loads(plain)
    learn(value for name, value in opened.items() if name not in PUBLIC_NAMES)
    return opened


def _moving(one: Integration, plain: Mapping[str, Any]) -> str | None:
    """The field by which the credentials would go to another host, if any."""
    if plain.get("source", one.source) != one.source:
        return "source"
    told = plain.get("base_url", one.base_url)
    return "base_url" if (told or "").rstrip("/") != (one.base_url or "").rstrip("/") else None


def _credential_columns(
    vault: Vault, one: Integration, changes: IntegrationChanges, moving: str | None
) -> dict[str, Any]:
    sent = changes.credentials if "credentials" in changes.model_fields_set else {}
    if not sent and moving is None:
        return {}
    stored: dict[str, str] | None = None
    try:
        stored = _opened(vault, one)
    except NotConfiguredError:  # whoever gives new ones may: they replace what nobody can read
        given_at_all = any(value and not is_mask(value) for value in sent.values())
        if moving is not None and not given_at_all:
            raise _again("credentials", moving) from None
    known = stored or {}
    for name, value in sent.items():
        if is_mask(value) and name not in known:
            raise InvalidInputError(f"credentials.{name}", IS_A_MASK)
    given = {name: value for name, value in sent.items() if not is_mask(value)}
    if moving is not None:
        for name in known:
            if name not in given and name not in PUBLIC_NAMES:
                raise _again(f"credentials.{name}", moving)
    merged = {name: value for name, value in {**known, **given}.items() if value is not None}
    if merged == stored or not given:
        return {}
    return {CREDENTIALS_COLUMN: _sealed(vault, one.id, merged)}


def _again(field: str, moving: str) -> InvalidInputError:
    return InvalidInputError(field, f"must be given again, since {moving} changes")


def _webhook_columns(vault: Vault, one: Integration, changes: IntegrationChanges) -> dict[str, Any]:
    if "webhook" not in changes.model_fields_set:
        return {}
    return webhook_columns(
        vault,
        one.id,
        changes.webhook,
        stored=one.webhook,
        has_secret=bool(one.webhook_secret_encrypted),
    )


_WIRE_NAMES: Final = {CREDENTIALS_COLUMN: "credentials", PROOF_COLUMN: "webhook"}
SECRET: Final = frozenset({"credentials"})
SEALED: Final = frozenset(_WIRE_NAMES)


async def _write(one: Integration, columns: Mapping[str, Any]) -> None:
    """Write what differs, and the audit entry of it."""
    changed = [name for name, value in columns.items() if getattr(one, name) != value]
    if not changed:
        return
    told = differences(one, {name: columns[name] for name in changed}, _WIRE_NAMES, secret=SEALED)
    for name in changed:
        setattr(one, name, columns[name])
    await one.save(update_fields=[*changed, "updated_at"])
    await _record("updated", one, **told)


def _shown(vault: Vault, one: Integration) -> ShownIntegration:
    credentials: dict[str, str] = {}
    error = None
    try:
        credentials = {name: mask(value) for name, value in _opened(vault, one).items()}
    except NotConfiguredError as failed:
        error = f"its credentials cannot be decrypted: {failed}"
    return ShownIntegration(
        id=one.id,
        source=one.source,
        name=one.name,
        credentials=credentials,
        agent_id=one.agent_id,
        project_id=one.project_id,
        slug=one.slug,
        base_url=one.base_url,
        webhook=shown_webhook(vault, one),
        enabled=one.enabled,
        error=error,
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


async def _record(what: str, one: Integration, **detail: Any) -> None:
    await audit.record(
        f"integration.{what}",
        agent_id=one.agent_id,
        caller="api",
        detail={"integration_id": one.id, "name": one.name, **detail},
    )
