"""GraphQL: simulateDelivery, what a webhook would do if it came now."""

from typing import Annotated, Any, cast

import strawberry

from resolvers import deliveries, simulations
from schema import rows
from schema.arguments import chosen
from schema.context import Info
from schema.deliveries import Delivery
from schema.enums import (
    AnswerPlace,
    DeliveryStatus,
    JqVerdict,
    SignatureVerdict,
    SimulatedStatus,
    SourceName,
)
from schema.memory import FoundMemory
from schema.scalars import JSON

TRIGGER = "A canonical trigger: `issue.created`."


@strawberry.type(description="Whether a delivery's signature proves it, and by which secret.")
class SimulatedSignature:
    verdict: SignatureVerdict = strawberry.field(description="What it is worth.")
    setting: str | None = strawberry.field(
        description="Where the secret is set, or would have to be; null: it cannot be read."
    )
    reason: str | None = strawberry.field(description="Why it is not verified; null: it is.")


@strawberry.type(description="An (event name, action) under which an event may be mapped.")
class SimulatedCandidate:
    event_name: str = strawberry.field(description="The event, in the source's word: `issues`.")
    action: str | None = strawberry.field(description="What was done: `opened`; null: none.")


@strawberry.type(description="The item that an event is about.")
class SimulatedItem:
    kind: str = strawberry.field(description="What it is: `issue`, `pr`, `deployment`.")
    project: str = strawberry.field(description="What the source calls its project.")
    key: str = strawberry.field(description="What the source calls it: `7`.")
    title: str = strawberry.field(description="Its title; may be empty.")
    body: str = strawberry.field(description="Its text as Markdown; may be empty.")
    url: str = strawberry.field(description="Its page; may be empty.")
    state: str | None = strawberry.field(description="Whether it is open, in the source's word.")
    author: str | None = strawberry.field(description="Who wrote it.")
    labels: list[str] = strawberry.field(description="Its labels.")


@strawberry.type(description="Who caused an event.")
class SimulatedActor:
    login: str = strawberry.field(description="Their name at the source.")
    is_bot: bool = strawberry.field(description="Whether that is a program.")
    id: strawberry.ID | None = strawberry.field(description="Their id at the source.")
    association: str | None = strawberry.field(
        description="How close they stand to the project, if the source tells."
    )


@strawberry.type(description="What was read from a delivery.")
class SimulatedEvent:
    event_name: str = strawberry.field(description="The event, in the source's word: `issues`.")
    action: str | None = strawberry.field(
        description="What was done, in the source's word: `opened`."
    )
    candidates: list[SimulatedCandidate] = strawberry.field(
        description="Under what mappings may know it, sharpest first."
    )
    stops: bool = strawberry.field(description="Whether mappings of any action are left out, too.")
    is_ping: bool = strawberry.field(description="Whether it only tries the connection.")
    project_names: list[str] = strawberry.field(
        description="Every name that a project row may know its project by."
    )
    subject: SimulatedItem | None = strawberry.field(description="What it is about.", name="item")
    actor: SimulatedActor | None = strawberry.field(description="Who did it.")
    text: str = strawberry.field(description="What was written just now, as Markdown.")
    comment_id: str | None = strawberry.field(
        description="The source's id of the comment that it tells of."
    )
    change: str | None = strawberry.field(description="The value that changed: a label's name.")
    outcome: str | None = strawberry.field(description="How a deployment or a review ended.")
    delivery_key: str = strawberry.field(description="The same whenever the source sends it again.")
    change_key: str = strawberry.field(description="What happened, whoever tells of it.")


@strawberry.type(description="The stored delivery that an event would repeat.")
class SimulatedRepetition:
    delivery_id: strawberry.ID = strawberry.field(description="That delivery's id.")
    by: str = strawberry.field(
        description="The key that is the same: `delivery_key`, `change_key`."
    )
    status: DeliveryStatus = strawberry.field(description="What became of that delivery.")
    reason: str | None = strawberry.field(description="Why that one was ignored.")
    canonical_triggers: list[str] = strawberry.field(description="What that one meant.")
    executions: list[strawberry.ID] = strawberry.field(
        description="The ids of the task executions that it started, oldest first."
    )
    is_routed_anew: bool = strawberry.field(
        description="Whether nothing came of it then, and something would now."
    )

    @strawberry.field(description="That delivery; null once it is pruned.")
    async def delivery(self, info: Info) -> Delivery | None:
        found = await info.context.loaders.load(deliveries.deliveries_of, int(self.delivery_id))
        return rows.one(Delivery, found)


@strawberry.type(description="A webhook mapping that was asked.")
class SimulatedRule:
    webhook_mapping_id: strawberry.ID = strawberry.field(description="The mapping's id.")
    jq_filter: str = strawberry.field(description="Its jq program.")
    canonical_trigger: str = strawberry.field(description="The trigger that it gives.")
    verdict: JqVerdict = strawberry.field(description="What its program said.")


@strawberry.type(description="A canonical trigger, and the mappings that gave it.")
class SimulatedTrigger:
    canonical_trigger: str = strawberry.field(description=TRIGGER)
    source_event_mapping_id: strawberry.ID | None = strawberry.field(
        description="The id of the source event mapping that gave it; null: none did."
    )
    webhook_mapping_ids: list[strawberry.ID] = strawberry.field(
        description="The ids of the webhook mappings that gave it."
    )


@strawberry.type(description="A trigger-task mapping, and whether it lets its task start.")
class SimulatedGate:
    trigger_task_mapping_id: strawberry.ID = strawberry.field(description="The mapping's id.")
    canonical_trigger: str = strawberry.field(description=TRIGGER)
    task_id: strawberry.ID = strawberry.field(description="The task's id.")
    is_open: bool = strawberry.field(description="Whether the task would start.")
    reason: str | None = strawberry.field(description="Why it would not.")
    condition: str | None = strawberry.field(description="Its jq program.")
    condition_verdict: JqVerdict | None = strawberry.field(
        description="What that said; null: there is none."
    )
    min_association: str | None = strawberry.field(
        description="How close the author must stand to the project."
    )
    association: str | None = strawberry.field(description="How close they do, if that is known.")


@strawberry.type(description="One message that a model would be sent.")
class SimulatedMessage:
    role: str = strawberry.field(description="Whose words: `system`, `user`.")
    content: str = strawberry.field(
        description="The whole text. The word that marks a block is drawn anew each time."
    )


@strawberry.type(description="A tool that a model would be offered.")
class SimulatedTool:
    name: str = strawberry.field(description="Its name.")
    description: str = strawberry.field(description="What it does, as the model is told.")
    parameters: JSON = strawberry.field(description="JSON Schema of its arguments.")


@strawberry.type(description="A tool that there is, and that a model is not offered.")
class WithheldTool:
    name: str = strawberry.field(description="Its name.")
    reason: str = strawberry.field(
        description="Why: it is switched off, a list leaves it out, an outsider woke the run, or "
        "it is nothing for a chat."
    )


@strawberry.type(description="Where an answer would go.")
class SimulatedAnswer:
    place: AnswerPlace = strawberry.field(description="To the item, or to the record only.")
    reason: str | None = strawberry.field(description="Why to the record only.")
    project_key: str | None = strawberry.field(description="What the source calls the project.")
    item_kind: str | None = strawberry.field(description="What the item is: `issue`, `pr`.")
    item_key: str | None = strawberry.field(description="What the source calls the item: `7`.")
    url: str | None = strawberry.field(description="The item's page.")


@strawberry.type(description="A task that would start.")
class SimulatedTask:
    task_id: strawberry.ID = strawberry.field(description="The task's id.")
    task_name: str = strawberry.field(description="The task's name.")
    canonical_trigger: str = strawberry.field(description="The trigger that named it first.")
    agent_id: strawberry.ID | None = strawberry.field(
        description="The agent that would do it; null: the fallback prompt speaks, or `error`."
    )
    agent_reason: str | None = strawberry.field(description="Why this agent.")
    model: str | None = strawberry.field(description="The language model that would be asked.")
    error: str | None = strawberry.field(
        description="Why the execution would fail before it asks a model; null: it would not."
    )
    messages: list[SimulatedMessage] = strawberry.field(
        description="What the model would be sent first: the prompt, memories, the event."
    )
    memories: list[FoundMemory] = strawberry.field(
        description="What the run would be reminded of, best first."
    )
    memories_error: str | None = strawberry.field(
        description="Why memories could not be looked for; a run goes on without them."
    )
    tools: list[SimulatedTool] = strawberry.field(description="What the model would be offered.")
    withheld: list[WithheldTool] = strawberry.field(
        description="The tools that it would not be offered; a call of one is refused."
    )
    answer: SimulatedAnswer = strawberry.field(description="Where its closing text would go.")


@strawberry.type(description="What would come of a delivery that is let in.")
class Prospect:
    status: strawberry.Private[str]
    reason: str | None = strawberry.field(
        description="Why nothing would start, or which tasks are held back and why."
    )
    project_id: strawberry.ID | None = strawberry.field(
        description="The id of our project that knows it; null: none does."
    )
    stored: SimulatedRepetition | None = strawberry.field(
        description="The delivery that it repeats; null: it is new."
    )
    event: SimulatedEvent = strawberry.field(description="What was read from it.")
    rules: list[SimulatedRule] = strawberry.field(description="The jq rules that were asked.")
    triggers: list[SimulatedTrigger] = strawberry.field(
        description="What it means, and by which mappings."
    )
    gates: list[SimulatedGate] = strawberry.field(
        description="The mappings of those triggers, and whether they let their tasks start."
    )
    extracted: JSON = strawberry.field(
        description="What webhook mappings would extract for the prompt, by name."
    )
    tasks: list[SimulatedTask] = strawberry.field(description="What would start.")

    @strawberry.field(name="status", description="What it would be answered, once it is let in.")
    def outcome(self) -> SimulatedStatus:
        return SimulatedStatus(self.status)


@strawberry.type(description="What a delivery would be answered, and what would come of it.")
class Simulation:
    slug: str = strawberry.field(description="The last part of the webhook's address.")
    source: SourceName = strawberry.field(description="The platform that uses this address.")
    status: SimulatedStatus = strawberry.field(description="What it would be answered.")
    http_status: int = strawberry.field(description="With which status of HTTP.")
    reason: str | None = strawberry.field(
        description="Why it would be refused or start nothing, or which tasks are held back."
    )
    signature: SimulatedSignature = strawberry.field(description="Whether it is proven.")
    prospect: Prospect | None = strawberry.field(
        description="What would come of it once it is let in, also where its signature is wrong; "
        "null: it cannot be read."
    )


Slug = Annotated[
    str, strawberry.argument(description="The last part of the webhook's address: `github`.")
]
SentHeaders = Annotated[
    JSON, strawberry.argument(description="The request's headers, an object of strings.")
]
Body = Annotated[
    str | None,
    strawberry.argument(description="The request's body, exactly: it is what is signed."),
]
BodyBase64 = Annotated[
    str | None, strawberry.argument(description="The same in base64, in place of `body`.")
]
AsNew = Annotated[
    bool, strawberry.argument(description="Leave aside that it is stored already, as a replay.")
]


async def _simulated(
    slug: str, headers: JSON, body: str | None, body_base64: str | None, as_new: bool
) -> Simulation | None:
    wanted = chosen(
        simulations.NewSimulation,
        slug=slug,
        headers=cast("dict[str, Any]", headers),
        body=body,
        body_base64=body_base64,
        as_new=as_new,
    )
    return rows.one(Simulation, await simulations.simulate_delivery(wanted))


@strawberry.type
class Query:
    @strawberry.field(
        description="What a webhook would do if it came now. Nothing is stored, sent, or asked of "
        "a model; memories are looked for as a run would."
    )
    async def simulate_delivery(
        self,
        slug: Slug,
        headers: SentHeaders,
        body: Body = None,
        body_base64: BodyBase64 = None,
        as_new: AsNew = False,
    ) -> Simulation | None:
        return await _simulated(slug, headers, body, body_base64, as_new)


@strawberry.type
class Mutation:
    @strawberry.mutation(
        description="The same as the query of this name, for clients that take a simulation for a "
        "doing. It changes nothing."
    )
    async def simulate_delivery(
        self,
        slug: Slug,
        headers: SentHeaders,
        body: Body = None,
        body_base64: BodyBase64 = None,
        as_new: AsNew = False,
    ) -> Simulation | None:
        return await _simulated(slug, headers, body, body_base64, as_new)
