"""What a run costs: by prices that are set, or not known, and of calls that broke off."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from aether.db import rows
from aether.demo.model import Reply
from aether.engine.execute import execute
from aether.engine.restart import cancel as cancel_execution
from aether.engine.summary import summarize
from aether.llm import prices
from aether.models import Agent, ExecutionMessage, LlmCall, TaskDefinition, TaskExecution, UsageDay
from tests.engine import test_execute as base
from tests.engine.test_limits import READ, project, sarah, told

World = base.World
make = base.make
world = base.world

PRICES = '{"scripted": {"prompt": 1000, "completion": 5000}}'
FREE = '{"scripted": {"prompt": 0, "completion": 0}}'
LONG = "one two three four five six seven eight"


@pytest.fixture(autouse=True)
def _nobody_warned() -> Iterator[None]:
    prices.forget()
    yield
    prices.forget()


@pytest.fixture
def priced(make: Callable[..., World]) -> World:
    """A model of which a prompt token costs a tenth of a cent, and a written one five."""
    return make(MODEL_PRICES=PRICES)


async def spent(**only: Any) -> list[tuple[Any, ...]]:
    """The days' sums: model, calls, tokens read and written, cost, unpriced, estimated."""
    found = await UsageDay.filter(**only).order_by("model")
    return [
        (
            one.model, one.llm_calls, one.prompt_tokens, one.completion_tokens, one.cost_usd,
            one.unpriced_calls, one.estimated_calls,
        )
        for one in found
    ]  # fmt: skip


async def test_prices_that_are_set_are_what_a_run_costs_and_what_its_limit_stops(
    priced: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(max_cost_usd_per_run=0.2)

    done = await priced.run(READ, Reply.text("Never asked."))

    assert (done.status, done.error_code, done.llm_calls) == ("failed", "RATE_LIMITED", 1)
    assert (done.cost_usd, done.unpriced_calls) == (Decimal("0.2"), 0)
    assert done.error == (
        "this run of task triage has used 0.20000000 of 0.2 US dollars (max_cost_usd_per_run); "
        "nothing more is spent"
    )
    assert await spent() == [("scripted", 1, 100, 20, Decimal("0.2"), 0, 0)]
    assert priced.comments() == []


async def test_a_run_whose_price_nobody_knows_is_counted_as_unpriced_and_warned_about_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    done = await world.run(READ, Reply.text("Read.").using(50, 5))
    await world.run(Reply.text("Again.").using(1, 1), number=8)

    assert (done.status, done.llm_calls, done.cost_usd, done.unpriced_calls) == (
        "succeeded", 2, Decimal(0), 2,
    )  # fmt: skip
    assert await spent() == [("scripted", 3, 151, 26, Decimal(0), 3, 0)]
    told_of = await ExecutionMessage.filter(execution_id=done.id).order_by("position")
    assert [one.unpriced for one in told_of if one.model] == [True, True]
    assert [one.unpriced for one in told_of if not one.model] == [False] * 3
    warned = [one.getMessage() for one in caplog.records if "MODEL_PRICES" in one.getMessage()]
    assert len(warned) == 1
    assert "'scripted'" in warned[0]


@pytest.mark.parametrize("owner", ["agent", "project", "task"])
async def test_under_a_bound_of_cost_a_model_without_a_price_is_not_asked(
    world: World, owner: str
) -> None:
    name = "max_cost_usd_per_run" if owner == "task" else "max_cost_usd_per_day"
    of = "agent pm_sarah" if owner == "agent" else "this run of task triage"
    if owner == "agent":
        await sarah(max_cost_usd_per_day=5)
    elif owner == "project":
        of = f"project {await project(max_cost_usd_per_day=5)}"
    else:
        await TaskDefinition.filter(id="triage").update(max_cost_usd_per_run=5)

    done = await world.run(Reply.text("Never asked."))

    assert (done.status, done.tries, done.error_code, done.llm_calls) == (
        "failed", 1, "NOT_CONFIGURED", 0,
    )  # fmt: skip
    assert done.error == (
        "MODEL_PRICES: the price of the model 'scripted' is not known, so "
        f"{name} of {of} cannot be kept; set it (0 if it costs nothing), or bound tokens instead "
        "of cost"
    )
    assert world.model.calls == []
    assert world.comments() == []
    assert await spent() == []
    assert await told() == [("limit.unpriced", name)]


async def test_the_refusal_is_in_the_audit_log_once_a_day(world: World) -> None:
    await sarah(max_cost_usd_per_day=5)

    for number in (7, 8):
        assert (await world.run(Reply.text("x"), number=number)).status == "failed"

    assert await told() == [("limit.unpriced", "max_cost_usd_per_day")]


async def test_a_model_that_is_said_to_cost_nothing_runs_under_a_bound_of_cost(
    make: Callable[..., World],
) -> None:
    free = make(MODEL_PRICES=FREE)
    await sarah(max_cost_usd_per_day=5)

    done = await free.run(Reply.text("Fine.").using(100, 20))

    assert (done.status, done.cost_usd, done.unpriced_calls) == ("succeeded", Decimal(0), 0)
    assert await spent() == [("scripted", 1, 100, 20, Decimal(0), 0, 0)]


async def test_tokens_can_be_bounded_without_a_price(world: World) -> None:
    await sarah(max_tokens_per_day=120)

    assert (await world.run(Reply.text("Fine.").using(100, 20))).status == "succeeded"
    stopped = await world.run(Reply.text("Never asked."), number=8)

    assert (stopped.status, stopped.error_code) == ("failed", "RATE_LIMITED")


async def test_a_fallback_without_a_price_is_left_out_under_a_bound_of_cost(
    make: Callable[..., World],
) -> None:
    fallen = make(MODEL_PRICES=PRICES, LLM_FALLBACK_MODELS="phi4,gpt-4o")
    fallen.model.models += ["phi4", "gpt-4o"]
    await sarah(max_cost_usd_per_day=5)

    done = await fallen.run([Reply.error(500), Reply.text("The third.").using(1_000, 100)])

    assert [one["model"] for one in fallen.model.requests] == ["scripted", "gpt-4o"]
    assert (done.status, done.model, done.cost_usd) == ("succeeded", "gpt-4o", Decimal("0.0035"))


async def test_a_reply_that_breaks_off_is_paid_for_and_the_fallback_s_too(
    make: Callable[..., World],
) -> None:
    fallen = make(MODEL_PRICES=PRICES, LLM_FALLBACK_MODELS="gpt-4o")
    fallen.model.models.append("gpt-4o")

    done = await fallen.run([Reply.cut(LONG, 5), Reply.text("The whole.").using(1_000, 100)])

    [call] = await LlmCall.all()
    read, written = call.prompt_tokens, call.completion_tokens
    cost = Decimal(read * 1_000 + written * 5_000) / 10**6
    assert (call.kind, call.execution_id, call.run, call.model) == (
        "broken_off", done.id, 1, "scripted",
    )  # fmt: skip
    assert (call.cost_usd, call.unpriced) == (cost, False)
    assert written == 5  # "one two three four "
    assert (done.status, done.model, done.llm_calls) == ("succeeded", "gpt-4o", 2)
    assert (done.prompt_tokens, done.completion_tokens) == (1_000 + read, 100 + written)
    assert done.cost_usd == cost + Decimal("0.0035")
    assert await spent() == [
        ("gpt-4o", 1, 1_000, 100, Decimal("0.0035"), 0, 0),
        ("scripted", 1, read, written, cost, 0, 1),
    ]
    assert fallen.comments() == ["The whole."]


async def test_each_try_that_broke_off_counts_for_the_run_and_its_limit(priced: World) -> None:
    await TaskDefinition.filter(id="triage").update(max_tokens_per_run=1)

    first = await priced.run(Reply.cut(LONG, 5))
    second = await priced.again(first.id)

    [call] = await LlmCall.all()
    used = call.prompt_tokens + call.completion_tokens
    assert (first.status, first.llm_calls) == ("retrying", 1)
    assert (second.status, second.error_code, second.llm_calls) == ("failed", "RATE_LIMITED", 1)
    assert second.error == (
        f"this run of task triage has used {used:,} of 1 tokens (max_tokens_per_run); nothing "
        "more is spent"
    )
    assert len(priced.model.calls) == 1


async def test_what_an_earlier_run_broke_off_does_not_count_for_the_next_one(
    priced: World,
) -> None:
    await TaskDefinition.filter(id="triage").update(max_tokens_per_run=1)
    first = await priced.run(Reply.cut(LONG, 5))
    priced.model.say(Reply.text("Fine."))
    await rows("UPDATE task_execution SET run = 2, status = 'queued' WHERE id = $1", first.id)

    done = await priced.again(first.id)

    assert (done.status, done.llm_calls) == ("succeeded", 2)


async def test_a_limit_that_a_broken_reply_reached_stops_the_fallback(
    make: Callable[..., World],
) -> None:
    fallen = make(MODEL_PRICES=PRICES, LLM_FALLBACK_MODELS="gpt-4o")
    fallen.model.models.append("gpt-4o")
    await sarah(max_cost_usd_per_day=0.01)

    done = await fallen.run([Reply.cut(LONG, 5), Reply.text("Never asked.")])

    assert (done.status, done.error_code) == ("failed", "RATE_LIMITED")
    assert [one["model"] for one in fallen.model.requests] == ["scripted"]
    assert await told() == [("limit.reached", "max_cost_usd_per_day")]


async def test_a_run_that_is_cancelled_in_mid_reply_has_used_what_came(priced: World) -> None:
    priced.model.say(Reply.text("word " * 500).paced(0.05))
    execution_id = await priced.opened()
    working = asyncio.create_task(execute(priced.runtime, execution_id))

    await _heard(execution_id)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working

    done = await TaskExecution.get(id=execution_id)
    [call] = await LlmCall.all()
    assert (done.status, done.tries) == ("queued", 0)
    assert (done.llm_calls, done.prompt_tokens) == (1, call.prompt_tokens)
    assert 0 < done.completion_tokens < 500
    assert done.cost_usd == call.cost_usd > 0


async def _heard(execution_id: int) -> None:
    """Wait until something of the reply has come, 20 seconds at most."""
    async with asyncio.timeout(20):
        while not await rows(  # noqa: ASYNC110 # the stand-in lives in another thread
            "SELECT 1 FROM live_event WHERE kind = 'text' AND execution_id = $1", execution_id
        ):
            await asyncio.sleep(0.02)


async def test_a_reply_that_comes_after_its_run_was_cancelled_was_paid_for(
    priced: World,
) -> None:
    cancelled = threading.Event()
    priced.model.say(Reply.text("Too late.").using(100, 20).after(cancelled))
    execution_id = await priced.opened()

    async def cancel() -> None:
        await base.asked(priced)
        await cancel_execution(execution_id)
        cancelled.set()

    await asyncio.gather(execute(priced.runtime, execution_id), cancel())

    done = await TaskExecution.get(id=execution_id)
    assert (done.status, done.llm_calls, done.cost_usd) == ("cancelled", 1, Decimal("0.2"))
    assert await spent() == [("scripted", 1, 100, 20, Decimal("0.2"), 0, 0)]
    assert priced.comments() == []


async def test_a_summary_is_held_to_the_bound_too_and_counted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await TaskDefinition.filter(id="triage").update(summarize=True)
    agent = await sarah()
    await project()
    done = await world.run(Reply.text("Fine.").using(1, 1))
    await Agent.filter(id=agent.id).update(max_cost_usd_per_month=5)
    caplog.set_level(logging.WARNING)

    await summarize(world.runtime, done.id)

    assert len(world.model.calls) == 1
    assert "is not summarized: MODEL_PRICES: the price of the model 'scripted'" in caplog.text
    await Agent.filter(id=agent.id).update(max_cost_usd_per_month=None)
    world.model.say(Reply.text("It was fine.").using(10, 2))
    await summarize(world.runtime, done.id)
    counted = await TaskExecution.get(id=done.id)
    assert (counted.llm_calls, counted.unpriced_calls, counted.prompt_tokens) == (2, 2, 11)
