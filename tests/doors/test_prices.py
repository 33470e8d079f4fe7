# ruff: noqa: F401, F811 # fixtures of a neighbour
"""Both doors where a price is not known: told, refused under a bound, warned about when saved."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from aether import aside
from aether.demo.model import Reply, ScriptedModel
from aether.errors import UnavailableError
from aether.llm import prices
from tests.aside.here import AsideHere
from tests.doors.calls import TA_LEO, column, count, details, execution, insert
from tests.doors.test_llm_chat import (
    LLM_CHAT,
    LLM_CHAT_STREAM,
    doors,
    events_of,
    model,
    model_url,
    said,
)
from tests.llm.conftest import until
from tests.schema.both import Doors

ASKED: Any = {"agentId": "ta_leo", "messages": [{"role": "USER", "content": "x"}]}
BOUND: Any = {**TA_LEO, "max_cost_usd_per_day": 5}
TASK: Any = {"id": "triage", "name": "Triage", "description": "Say it.", "actor_id": "ta_leo"}
PROJECT: Any = {"name": "API", "source": "github", "source_project_id": "myorg/api"}
CANNOT = (
    "cannot be kept: the price of the model {!r} is not known, so it is not asked under that "
    "bound; set it in MODEL_PRICES, or bound tokens instead of cost"
)


@pytest.fixture(autouse=True)
def _nobody_warned() -> Iterator[None]:
    prices.forget()
    yield
    prices.forget()


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [one for one in caplog.records if one.name == "resolvers.prices"]
    return [one.getMessage() for one in found if one.levelno == logging.WARNING]


async def test_both_doors_tell_that_a_chat_s_cost_is_not_known(
    doors: Doors, model: ScriptedModel
) -> None:
    model.say(Reply.text("No.").using(60, 4))

    rest = await doors.post("/api/llm/chat", said(), 200)
    graphql = await doors.ask(
        LLM_CHAT.replace("costUsd", "costUsd unpricedCalls"), input={**ASKED, "agentId": None}
    )

    assert (rest["cost_usd"], rest["unpriced_calls"]) == (0.0, 1)
    assert graphql["llmChat"]["costUsd"] == 0.0
    assert graphql["llmChat"]["unpricedCalls"] == 1


async def test_reports_of_both_doors_tell_how_many_calls_their_cost_is_without(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", TA_LEO)
    told = Reply(content="No.", headers={"x-litellm-response-cost": "0.5"}).using(60, 4)
    model.say([told, Reply.text("No.").using(60, 4)])
    for _ in range(2):
        await doors.post("/api/llm/chat", said(agent_id="ta_leo"), 200)
    await execution(agent_id="ta_leo", status="succeeded", llm_calls=3, unpriced_calls=2,
                    cost_usd="0.25")  # fmt: skip

    usage = await doors.get("/api/usage")
    report = await doors.get("/api/usage/report?by=model")
    graphql = await doors.ask(
        """{ usage { llmCalls costUsd unpricedCalls }
             usageReport(by: [MODEL]) { model llmCalls costUsd unpricedCalls estimatedCalls } }"""
    )

    [one], [row] = usage, report
    assert (one["llm_calls"], one["cost_usd"], one["unpriced_calls"]) == (5, 0.75, 3)
    assert (row["model"], row["llm_calls"], row["cost_usd"]) == ("scripted", 2, 0.5)
    assert (row["unpriced_calls"], row["estimated_calls"]) == (1, 0)
    assert graphql == {
        "usage": [{"llmCalls": 5, "costUsd": 0.75, "unpricedCalls": 3}],
        "usageReport": [
            {"model": "scripted", "llmCalls": 2, "costUsd": 0.5, "unpricedCalls": 1,
             "estimatedCalls": 0},
        ],
    }  # fmt: skip


async def test_both_doors_tell_which_calls_of_an_execution_have_no_price(doors: Doors) -> None:
    row_id = await execution(status="succeeded", llm_calls=2, unpriced_calls=1, cost_usd="0.25")
    for position, unpriced in enumerate((False, True)):
        await insert(
            "execution_message", execution_id=row_id, run=1, position=position, message="{}",
            model="phi4", cost_usd="0", unpriced=unpriced,
        )  # fmt: skip

    rest = await doors.get(f"/api/task-executions/{row_id}")
    graphql = await doors.ask(
        """query ($id: ID!) { taskExecution(id: $id) {
             usage { llmCalls costUsd unpricedCalls } messages { unpriced } } }""",
        id=str(row_id),
    )

    assert (rest["usage"]["llm_calls"], rest["usage"]["unpriced_calls"]) == (2, 1)
    assert column(rest["messages"], "unpriced") == [False, True]
    assert graphql["taskExecution"] == {
        "usage": {"llmCalls": 2, "costUsd": 0.25, "unpricedCalls": 1},
        "messages": [{"unpriced": False}, {"unpriced": True}],
    }


async def test_both_doors_refuse_a_chat_under_a_bound_of_cost_that_cannot_be_kept(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", BOUND)

    rest = await doors.refused("POST", "/api/llm/chat", said(agent_id="ta_leo"), 400)
    events = await events_of(doors, said(agent_id="ta_leo"))
    graphql = await doors.refused_by_graphql(LLM_CHAT, input=ASKED)

    why = (
        "MODEL_PRICES: the price of the model 'scripted' is not known, so max_cost_usd_per_day of "
        "agent ta_leo cannot be kept; set it (0 if it costs nothing), or bound tokens instead of "
        "cost"
    )
    assert rest == why
    assert events == [("error", {"error": why})]
    assert graphql == (why, "NOT_CONFIGURED")
    assert model.calls == []
    assert await count("llm_call") == 0
    [told] = await details("limit.unpriced")
    assert told == {
        "of": "agent ta_leo", "limit": "max_cost_usd_per_day", "bound": 5.0, "used": 0.0,
        "period": told["period"], "model": "scripted",
    }  # fmt: skip


async def test_a_chat_that_breaks_off_is_counted_and_said_to_be(
    doors: Doors, model: ScriptedModel
) -> None:
    await doors.post("/api/agents", TA_LEO)
    model.say(Reply.breaking("one two three", after_chunks=3))

    *_, (name, _) = await events_of(doors, said(agent_id="ta_leo", project_id=7))

    [row] = await doors.get("/api/usage/report?by=agent,project")
    [usage] = await doors.get("/api/usage")
    [audited] = await details("llm.chat")
    assert name == "error"
    assert (row["agent_id"], row["project_id"], row["llm_calls"]) == ("ta_leo", 7, 1)
    assert (row["unpriced_calls"], row["estimated_calls"]) == (1, 1)
    assert row["prompt_tokens"] > row["completion_tokens"] == 3
    assert (usage["llm_calls"], usage["total_tokens"]) == (1, row["total_tokens"])
    assert (audited["broken_off"], audited["prompt_tokens"]) == (True, row["prompt_tokens"])


async def test_a_chat_costs_what_broke_off_too(doors: Doors, model: ScriptedModel) -> None:
    await doors.post("/api/agents", {**TA_LEO, "fallback_models": ["gpt-4o"]})
    model.models.append("gpt-4o")
    model.say([Reply.breaking("one two three", 3), Reply.text("Whole.").using(1_000, 100)])

    *_, (name, answer) = await events_of(doors, said(agent_id="ta_leo"))

    by_model = await doors.get("/api/usage/report?by=model")
    assert name == "done"
    assert (answer["cost_usd"], answer["unpriced_calls"]) == (0.0035, 1)
    assert answer["usage"]["total_tokens"] == sum(column(by_model, "total_tokens"))
    assert column(by_model, "model") == ["gpt-4o", "scripted"]


async def test_saving_a_bound_of_cost_warns_of_models_without_a_price(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    await doors.post("/api/agents", {**TA_LEO, "fallback_models": ["gpt-4o", "phi4"]})
    await doors.post("/api/tasks", TASK)
    assert warned(caplog) == []

    await doors.put("/api/agents/ta_leo", {"max_cost_usd_per_month": 5})
    await until(lambda: len(warned(caplog)) == 2)
    await doors.ask(
        """mutation { taskDefinitionUpdate(id: "triage", changes: {maxCostUsdPerRun: 1}) { id } }"""
    )
    await until(lambda: len(warned(caplog)) == 4)
    await doors.post("/api/projects", {**PROJECT, "max_cost_usd_per_day": 5})
    await until(lambda: len(warned(caplog)) == 6)

    assert warned(caplog) == [
        f"{bound} of {of} {CANNOT.format(name)}"
        for bound, of in (
            ("max_cost_usd_per_month", "agent ta_leo"),
            ("max_cost_usd_per_run", "task triage"),
            ("max_cost_usd_per_day", "project 1"),
        )
        for name in ("scripted", "phi4")
    ]


@pytest.mark.parametrize(
    "body",
    [
        {**BOUND, "model": "gpt-4o"},
        {**TA_LEO, "max_tokens_per_day": 5},
    ],
)
async def test_a_bound_that_can_be_kept_is_not_warned_about(
    doors: Doors, caplog: pytest.LogCaptureFixture, body: dict[str, Any]
) -> None:
    here = AsideHere(doors.runtime.settings)
    aside.install(here)

    await doors.post("/api/agents", body)
    await doors.put("/api/agents/ta_leo", {"name": "Leo the second"})
    await doors.put("/api/agents/ta_leo", {"model": "phi4", "max_cost_usd_per_month": 5})
    await until(lambda: len(warned(caplog)) == 1)

    assert len(here.asked) == 1 + ("model" in body)
    assert "'phi4'" in warned(caplog)[0]


async def test_a_bound_is_saved_also_where_its_models_cannot_be_looked_up(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "resolvers.prices")

    class Gone(AsideHere):
        async def call(self, job: str, arguments: Any) -> Any:
            raise UnavailableError("its process has just ended")

    aside.install(Gone(doors.runtime.settings))

    saved = await doors.post("/api/agents", BOUND)
    await until(lambda: "its process has just ended" in caplog.text)

    assert saved["max_cost_usd_per_day"] == 5
    assert warned(caplog) == []
