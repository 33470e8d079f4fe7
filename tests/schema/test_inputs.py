"""One pydantic model is REST's body and GraphQL's input: names, nulls, ids, errors."""

from typing import Annotated, Any

import pytest
import strawberry
from pydantic import BaseModel, Field

from aether.errors import InvalidInputError, NotFoundError
from aether.vocabulary import AgentRole
from resolvers.fields import (
    ABSENT,
    Flag,
    Input,
    JsonObject,
    Moment,
    Name,
    OptionalText,
    Role,
    RowId,
    SnakeId,
    Whole,
    read,
)
from resolvers.rows import absent
from schema.core import Schema, make_schema
from schema.inputs import input_from_model, row_id

strawberry.enum(AgentRole)


class Hook(Input):
    """A model inside a model, as resolvers would have it."""

    window_name: Name
    seconds: Whole = 60


class NewAgent(Input):
    """What a resolvers module holds; no GraphQL in it."""

    id: SnakeId = Field(description="snake_case, such as pm_sarah")
    name: Name
    role: Role = Field(alias="role_id", description="What it is in the team")
    tools: Annotated[list[Name], Field(max_length=3)] = []
    settings: JsonObject | None = None
    enabled: Flag = True
    project_id: RowId | None = None
    hook: Hook | None = None


class AgentChanges(Input):
    name: Name = ABSENT
    role: Role = absent("role_id")
    tools: list[Name] = ABSENT
    note_text: OptionalText = ABSENT
    seen_at: Moment | None = ABSENT
    owner_id: RowId = ABSENT


@input_from_model(description="A hook.")
class HookInput(Hook):
    pass


@input_from_model(description="What it takes to create an agent.")
class AgentInput(NewAgent):
    hook: HookInput | None = None


@input_from_model(description="What is to change; what is left out stays.")
class AgentChangesInput(AgentChanges):
    pass


taken: list[BaseModel] = []


@strawberry.type
class Query:
    @strawberry.field
    def create(self, input: AgentInput) -> str:
        taken.append(input)
        return "ok"

    @strawberry.field
    def update(self, changes: AgentChangesInput) -> str:
        taken.append(changes)
        return "ok"


CREATE = "query ($i: AgentInput!) { create(input: $i) }"
UPDATE = "query ($c: AgentChangesInput!) { update(changes: $c) }"
HOOK = {"windowName": ""}
SARAH: dict[str, Any] = {"id": "pm_sarah", "name": "Sarah", "role": "PM"}


@pytest.fixture(scope="module")
def inputs() -> Schema:
    return make_schema(Query)


async def refusal(schema: Schema, query: str, variables: dict[str, Any]) -> str:
    taken.clear()
    answer = await schema.execute(query, variables)
    assert answer.errors
    [error] = answer.errors
    assert error.extensions == {"code": "INVALID_INPUT"}
    assert taken == []
    return error.message


async def test_both_doors_read_the_same_model(inputs: Schema) -> None:
    taken.clear()
    given = {**SARAH, "tools": ["a"], "settings": {"x": 1}, "projectId": "42"}

    answer = await inputs.execute(CREATE, {"i": {**given, "hook": {"windowName": "X"}}})
    rest = NewAgent.model_validate_json(
        '{"id": "pm_sarah", "name": "Sarah", "role_id": "pm", "tools": ["a"],'
        ' "settings": {"x": 1}, "project_id": 42, "hook": {"window_name": "X"}}'
    )

    assert answer.data == {"create": "ok"}
    [graphql] = taken
    assert isinstance(graphql, NewAgent)
    assert graphql.model_dump() == rest.model_dump()
    assert graphql.role is AgentRole.PM


async def test_integer_ids_beyond_32_bits_are_read(inputs: Schema) -> None:
    taken.clear()

    await inputs.execute(CREATE, {"i": {**SARAH, "projectId": "9007199254740993"}})
    await inputs.execute(CREATE, {"i": {**SARAH, "projectId": 7}})

    assert [one.model_dump()["project_id"] for one in taken] == [9007199254740993, 7]


def test_the_input_says_what_the_model_says(inputs: Schema) -> None:
    sdl = inputs.as_str()

    made = sdl[sdl.index("input AgentInput") :].split("}")[0]
    assert [line.strip() for line in made.splitlines()[1:] if line.strip()] == [
        '"""snake_case, such as pm_sarah"""',
        "id: ID!",
        "name: String!",
        '"""What it is in the team"""',
        "role: AgentRole!",
        "tools: [String!]! = []",
        "settings: JSON",
        "enabled: Boolean! = true",
        "projectId: ID",
        "hook: HookInput",
    ]
    assert '"""What is to change; what is left out stays."""' in sdl


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, {}),
        ({"noteText": None}, {"note_text": None}),
        ({"noteText": "n", "role": "QA"}, {"note_text": "n", "role": AgentRole.QA}),
        ({"ownerId": "3000000000"}, {"owner_id": 3_000_000_000}),
        ({"tools": []}, {"tools": []}),
    ],
)
async def test_absent_and_null_are_told_apart(
    inputs: Schema, changes: dict[str, Any], told: dict[str, Any]
) -> None:
    taken.clear()

    await inputs.execute(UPDATE, {"c": changes})

    [one] = taken
    assert one.model_dump(exclude_unset=True) == told


@pytest.mark.parametrize(
    ("query", "variables", "message"),
    [
        (CREATE, {"i": {**SARAH, "name": ""}}, "name: must not be empty"),
        (CREATE, {"i": {**SARAH, "id": "Pm"}}, "id: must be snake_case, such as pm_sarah"),
        (CREATE, {"i": {**SARAH, "tools": ["a", ""]}}, "tools.1: must not be empty"),
        (CREATE, {"i": {**SARAH, "tools": ["a"] * 4}}, "tools: must have at most 3 items"),
        (CREATE, {"i": {**SARAH, "hook": HOOK}}, "hook.windowName: must not be empty"),
        (CREATE, {"i": {**SARAH, "projectId": "x"}}, "projectId: must be a whole number"),
        (CREATE, {"i": {**SARAH, "projectId": "0"}}, "projectId: must be at least 1"),
        (CREATE, {"i": {**SARAH, "projectId": 2**70}}, "projectId: must be a whole number"),
        (CREATE, {"i": {**SARAH, "role": "pm"}}, ".role: Value does not exist in 'AgentRole' enum"),
        (CREATE, {"i": {**SARAH, "role_id": "PM"}}, "not to include unknown field 'role_id'"),
        (CREATE, {"i": {"id": "a", "name": "b"}}, "'AgentInput' to include required field 'role'"),
        (UPDATE, {"c": {"name": None}}, "name: must be text"),
        (UPDATE, {"c": {"role": None}}, "role: one of pm, ta, qa, dev, hub"),
        (UPDATE, {"c": {"ownerId": None}}, "ownerId: must be a whole number"),
        (UPDATE, {"c": {"noteText": "x" * 500_001}}, "noteText: must have at most 500000"),
        (UPDATE, {"c": {"seenAt": "today"}}, "DateTime must be RFC 3339"),
    ],
)
async def test_a_refusal_names_the_field(
    inputs: Schema, query: str, variables: dict[str, Any], message: str
) -> None:
    told = await refusal(inputs, query, variables)

    assert message in told


@pytest.mark.parametrize(
    "given",
    [
        {"id": "hunter2"},
        {**SARAH, "unknown": "hunter2"},
        {**SARAH, "enabled": "hunter2"},
        {**SARAH, "role": "hunter2"},
        {**SARAH, "name": ["hunter2"]},
        "hunter2",
    ],
)
async def test_a_refusal_does_not_repeat_what_was_sent(inputs: Schema, given: Any) -> None:
    taken.clear()

    answer = await inputs.execute(CREATE, {"i": given})

    assert answer.errors
    assert "hunter2" not in str([error.formatted for error in answer.errors])
    assert taken == []


def test_rest_refuses_in_the_same_words_by_its_own_name() -> None:
    given = {"id": "a", "name": "b", "role_id": "pm", "hook": {"window_name": ""}}

    with pytest.raises(InvalidInputError, match=r"^hook\.window_name: must not be empty$"):
        read(NewAgent, given)
    with pytest.raises(InvalidInputError, match=r"^role_id: one of pm, ta, qa, dev, hub$"):
        read(NewAgent, {**given, "role_id": "boss"})


@pytest.mark.parametrize("id", ["x", "", "1.5", "99999999999999999999", "\uff19"])
def test_an_id_that_cannot_exist_is_not_found(id: str) -> None:
    assert row_id("project", strawberry.ID("42")) == 42
    with pytest.raises(NotFoundError, match=r"^project .* not found$"):
        row_id("project", strawberry.ID(id))
