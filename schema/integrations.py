"""GraphQL: Integration, its queries and mutations, and the test of the environment's."""

from datetime import datetime
from typing import Annotated, Any

import strawberry

from resolvers import integrations, platforms, webhook_proofs
from resolvers.fields import ABSENT
from schema import rows
from schema.arguments import chosen, described_like, number
from schema.enums import SourceName, WebhookAlgorithm, WebhookEncoding
from schema.inputs import input_from_model, row_id
from schema.limits import DEFAULT_PAGE
from schema.paging import Limit, Offset

IntegrationId = Annotated[strawberry.ID, strawberry.argument(description="The integration's id.")]


@strawberry.type(description="How deliveries to an integration's slug prove themselves.")
class IntegrationWebhook:
    header: str | None = strawberry.field(
        description="The header that proves; null: the platform's own way."
    )
    algorithm: WebhookAlgorithm | None = strawberry.field(
        description="What the header holds; null: an HMAC with SHA-256."
    )
    prefix: str | None = strawberry.field(
        description="What stands before it in the header, such as `sha256=`."
    )
    encoding: WebhookEncoding | None = strawberry.field(
        description="How an HMAC is written; null: hex."
    )
    timestamp_header: str | None = strawberry.field(
        description="The header with the seconds since 1970; the HMAC is then over its text, a dot "
        "and the body."
    )
    window_seconds: int | None = strawberry.field(
        description="How far that time may be from ours, 1 to 86400; null: 300."
    )
    secret: str | None = strawberry.field(
        description="Only a mask is ever shown; sent back it changes nothing. A comma-separated "
        "list: each proves."
    )


@strawberry.type(description="Credentials of an agent's or a project's own; never shown.")
class Integration:
    id: strawberry.ID = strawberry.field(description="Its number.")
    source: SourceName = strawberry.field(description="The platform that they are for.")
    name: str = strawberry.field(description="Its display name, at most 200 characters; unique.")
    credentials: dict[str, Any] = strawberry.field(
        description="Names and masks, such as `••••1234`; a mask that is sent back changes nothing."
    )
    agent_id: strawberry.ID | None = strawberry.field(
        description="The id of the only agent that uses them; null: any."
    )
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of the only project that they are used in; null: any."
    )
    slug: str | None = strawberry.field(
        description="The last part of a webhook address of its own: `/webhook/<slug>`."
    )
    base_url: str | None = strawberry.field(
        description="Where the platform is; null: as the environment says. When it changes, the "
        "secrets have to be given again."
    )
    webhook: IntegrationWebhook | None = strawberry.field(
        description="How deliveries to the slug prove themselves; null: none can."
    )
    enabled: bool = strawberry.field(description="Whether it is used.")
    error: str | None = strawberry.field(description="Why it cannot be used, if so.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")


@strawberry.type(description="What a platform said to the environment's credential.")
class IntegrationTest:
    status: str = strawberry.field(description="`ok`; anything else is an error.")
    source: SourceName = strawberry.field(description="The platform that was asked.")


@described_like(IntegrationWebhook)
@input_from_model(
    description="How deliveries prove themselves; in a change what is left out stays."
)
class IntegrationWebhookInput(webhook_proofs.Webhook):
    pass


@described_like(Integration)
@input_from_model(description="Credentials to store; they are encrypted.")
class IntegrationInput(integrations.NewIntegration):
    webhook: IntegrationWebhookInput | None = None


@described_like(Integration)
@input_from_model(
    description="What to change of an integration; what is left out stays. Credentials merge name "
    "by name; null removes one."
)
class IntegrationChangesInput(integrations.IntegrationChanges):
    webhook: IntegrationWebhookInput | None = ABSENT


@strawberry.type
class Query:
    @strawberry.field(description="Integrations, oldest first.")
    async def integrations(
        self,
        source: Annotated[
            SourceName | None, strawberry.argument(description="Only those for this platform.")
        ] = None,
        agent_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the agent with this id."),
        ] = None,
        project_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(description="Only those of the project with this id."),
        ] = None,
        enabled: Annotated[
            bool | None, strawberry.argument(description="Only those that are, or are not.")
        ] = None,
        limit: Limit = DEFAULT_PAGE,
        offset: Offset = 0,
    ) -> list[Integration] | None:
        wanted = chosen(
            integrations.IntegrationFilter,
            source=source,
            agent_id=agent_id,
            project_id=number("projectId", project_id),
            enabled=enabled,
            limit=limit,
            offset=offset,
        )
        return rows.many(Integration, await integrations.list_integrations(wanted))

    @strawberry.field(
        description="Ask a platform who we are, with the environment's credential; NOT_CONFIGURED "
        "without one, UPSTREAM_FAILED if it is refused or nobody answers."
    )
    async def integration_test(
        self,
        source: Annotated[SourceName, strawberry.argument(description="The platform to ask.")],
    ) -> IntegrationTest | None:
        return rows.one(IntegrationTest, await platforms.check_integration(source))


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="Store credentials, encrypted; NOT_CONFIGURED without ENCRYPTION_KEY, CONFLICT "
        "if the name or the slug is taken."
    )
    async def integration_create(
        self,
        input: Annotated[IntegrationInput, strawberry.argument(description="The integration.")],
    ) -> Integration | None:
        return rows.one(Integration, await integrations.create_integration(input))

    @strawberry.mutation(
        description="Change an integration; CONFLICT if another one has the name or the slug."
    )
    async def integration_update(
        self,
        id: IntegrationId,
        changes: Annotated[
            IntegrationChangesInput, strawberry.argument(description="What to change.")
        ],
    ) -> Integration | None:
        one = await integrations.update_integration(row_id("integration", id), changes)
        return rows.one(Integration, one)

    @strawberry.mutation(description="Delete an integration with its secrets. Gives its id.")
    async def integration_delete(self, id: IntegrationId) -> strawberry.ID | None:
        await integrations.delete_integration(row_id("integration", id))
        return id
