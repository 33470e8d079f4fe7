"""The rounds of one run: the model is asked, its calls are run, until it answers.

Each reply and each result is stored before what follows from it.
"""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

from aether.checkpoints import reached
from aether.db import transaction
from aether.engine import approvals, limits, opening
from aether.engine.conversation import Conversation
from aether.engine.offering import Offer, Toolbox, offers
from aether.engine.reply_calls import Asked, outcomes
from aether.engine.run import Run
from aether.engine.tool_calls import after_last_round
from aether.errors import (
    CancelledRunError,
    LeaseLostError,
    UpstreamError,
)
from aether.live.speech import Speech
from aether.llm import ask as asking
from aether.llm import prompts

MOST_BLANKS: Final = 2  # a blank answer is asked for once more, then the run fails


async def converse(run: Run, talk: Conversation) -> str:
    """Ask the model, run its tools, until it answers; resumes wherever the messages stand."""
    rounds = opening.most_rounds(run.runtime.settings, run.task)
    while (answer := talk.answer()) is None:
        if talk.is_after_last_round:
            return _last_words(talk)
        # anew each time: a tool may be switched off, or held back, while the model thinks
        toolbox = await offers(run.assignment.agent, run.task, run.event)
        await _run_calls(run, talk, toolbox)
        if talk.left_out:
            await talk.add_user(prompts.left_out_message(talk.left_out))
        if talk.blanks >= MOST_BLANKS:
            raise UpstreamError(
                f"the model returned an empty answer twice{talk.why_blank}; nothing was posted",
                retryable=False,
            )
        if talk.blanks and talk.messages[-1].get("role") == "assistant":
            await talk.add_user(prompts.empty_answer_message())
        is_last = talk.rounds >= rounds
        tools = None if is_last else _to_model(toolbox.offered)
        await _ask(run, talk, tools, is_last=is_last)
    return answer


async def _run_calls(run: Run, talk: Conversation, toolbox: Toolbox) -> None:
    """Run the last reply's calls that have no result yet, once a person has seen what must be."""
    open_calls = [
        (run.tool_context(talk.rounds, str(call["id"])), call, raw)
        for call, raw in talk.open_calls()
    ]
    wanted = {context.call_key: (call, raw) for context, call, raw in open_calls}
    verdicts = await approvals.approved_calls(run.asker, wanted, toolbox.offered)
    asked = [
        Asked(call=call, raw=raw, context=context, verdict=verdicts.get(context.call_key))
        for context, call, raw in open_calls
    ]
    async with aclosing(outcomes(asked, toolbox)) as ended:
        async for outcome in ended:
            await talk.add_tool_outcome(outcome)
            reached("tool result stored")


async def approved(run: Run, talk: Conversation, text: str) -> str | None:
    """What may be posted of ``text``; None where a person refused it, and the model is told."""
    if run.effects is None or await run.effects.has_spoken():
        return text
    verdict = await approvals.approved_answer(run.asker, len(talk.messages), text)
    if not verdict.is_refused:
        return verdict.text
    async with transaction():  # in part it would leave calls that look as if they were to be run
        for call, raw in talk.open_calls():  # the text stood beside calls of the last round
            await talk.add_tool_outcome(after_last_round(call, raw))
        await talk.add_user(prompts.refused_answer_message(verdict.reason))
    return None


def _last_words(talk: Conversation) -> str:
    text = talk.last_text()
    if text is None:
        raise UpstreamError(
            "the model went on calling tools after its last round; nothing was posted",
            retryable=False,
        )
    return text


async def _ask(
    run: Run, talk: Conversation, tools: list[dict[str, Any]] | None, *, is_last: bool
) -> None:
    agent = run.assignment.agent
    settings = run.runtime.settings
    models = asking.models(
        settings, agent.model if agent else None, agent.fallback_models if agent else ()
    )

    async def check() -> list[str | None]:
        return await limits.check(
            settings, models, task=run.task, agent=agent, project=run.project, lease=run.lease
        )

    may_be_asked = await check()
    speech = Speech(settings, run.lease, position=len(talk.messages), round=talk.rounds + 1)
    async with speech:
        reply = await asking.ask(
            settings,
            models=may_be_asked,
            messages=talk.to_send(),
            room=talk.room,
            tools=tools,
            timeout=settings.llm_timeout_seconds,
            on_text=speech.hear if settings.llm_stream else None,
            on_again=speech.begin_again,
            on_broken_off=talk.add_broken_off,
            before_next=check,
        )
    reached("model answered")
    try:
        await talk.add_reply(reply, is_last=is_last)
    except (LeaseLostError, CancelledRunError):
        await talk.add_broken_off(reply.usage)  # nobody keeps it; it was paid for all the same
        raise
    reached("reply stored")


def _to_model(offered: Mapping[str, Offer]) -> list[dict[str, Any]] | None:
    return [offer.to_model() for offer in offered.values()] or None
