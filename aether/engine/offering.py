"""Which tools a run may use, which it may not, and why not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aether.engine.outsiders import why_held_back
from aether.events import SourceEvent
from aether.models import Agent, TaskDefinition, ToolDefinition
from aether.tools import TOOLS, mcp_servers
from aether.tools.base import Tool
from aether.tools.lookups import LOOKUPS, Lookup, effect_of
from aether.tools.mcp_parameters import offered_parameters
from aether.vocabulary import ToolEffect

MOST_OFFERED: Final = 128
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools"""
ANSWERS: Final = frozenset({"add_comment"})
"""Tools that write nothing but the answer."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A tool that this run or chat may use, as the model is shown it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Tool
    effect: ToolEffect
    look: Lookup | None = None  # a call where there is no run; None: it needs one
    is_foreign: bool = False  # its words and its schema are those of a server outside
    family: str = ""  # how the names of that server's tools begin
    requires_approval: bool = False

    def to_model(self) -> dict[str, Any]:
        """OpenAI's form of a tool."""
        parameters = dict(self.parameters) or {"type": "object", "properties": {}}
        if self.is_foreign:
            parameters = offered_parameters(parameters)
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": parameters,
            },
        }


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """A tool that exists and that this run or chat may not use."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools of a run or a chat, by name: what its model is shown; what it is not, and why."""

    of: str = "run"
    offered: Mapping[str, Offer] = field(default_factory=dict)
    withheld: Mapping[str, Withheld] = field(default_factory=dict)


async def offers(agent: Agent | None, task: TaskDefinition, event: SourceEvent) -> Toolbox:
    """Every tool that there is for this agent: offered where the agent, the task and whoever woke
    the run allow it, else withheld with the reason.

    At most 128 are offered, which is what a model's provider takes; the built-in ones first. The
    tools of other agents' MCP servers are not told of at all.
    """
    held_back = why_held_back(event, task)
    return sort_out(
        (offer, why_not or (held_back if held_back and writes(offer) else None))
        for offer, why_not in await candidates(agent, task)
    )


async def candidates(
    agent: Agent | None, task: TaskDefinition | None
) -> list[tuple[Offer, str | None]]:
    """Every tool that there is for this agent, the built-in ones first, and why it may not be
    used: its row, its server, or a list of the agent's or the task's is in the way; None: nothing.
    """
    lists = {
        f"{'agent' if isinstance(one, Agent) else 'task'} {one.id}": one.tools
        for one in (agent, task)
        if one is not None and one.tools is not None
    }
    return [
        (offer, why_not or _unlisted(offer, lists))
        for offer, why_not in [*await _built_in(), *await _foreign(agent, lists)]
    ]


def sort_out(found: Iterable[tuple[Offer, str | None]], *, of: str = "run") -> Toolbox:
    """Those with a reason against them are withheld; of the others the first 128 are offered."""
    offered: dict[str, Offer] = {}
    withheld: dict[str, Withheld] = {}
    for offer, why_not in found:
        reason = why_not
        if reason is None and len(offered) >= MOST_OFFERED:
            reason = f"no more than {MOST_OFFERED} tools are offered"
        if reason is None:
            offered[offer.name] = offer
        else:
            withheld[offer.name] = Withheld(name=offer.name, reason=reason)
    return Toolbox(of=of, offered=offered, withheld=withheld)


def writes(offer: Offer) -> bool:
    """Whether a call changes something beyond the run's own answer."""
    if not offer.is_foreign and offer.name in ANSWERS:
        return False
    return offer.effect is ToolEffect.WRITES


def only_reads(offer: Offer) -> bool:
    """Whether a call changes nothing anywhere, so that others may run beside it."""
    return offer.effect is ToolEffect.READS and offer.look is not None


async def _built_in() -> list[tuple[Offer, str | None]]:
    found = await ToolDefinition.filter(name__in=list(TOOLS), mcp_server_id=None).order_by("id")
    return [
        (
            Offer(
                name=one.name,
                description=one.description,
                parameters=one.parameters,
                call=TOOLS[one.name],
                look=LOOKUPS.get(one.name),
                effect=effect_of(one.name, one.effect),
                requires_approval=one.requires_approval,
            ),
            None if one.enabled else "it is switched off",
        )
        for one in found
    ]


async def _foreign(
    agent: Agent | None, lists: Mapping[str, Sequence[str]]
) -> list[tuple[Offer, str | None]]:
    found = []
    for tool in await mcp_servers.serving(agent.id if agent else None):
        offer = Offer(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            call=tool.call,
            look=tool.look,
            effect=tool.effect,
            requires_approval=tool.requires_approval,
            is_foreign=True,
            family=tool.family,
        )
        is_named = any(is_listed_in(one, offer) for one in lists.values())
        may = tool.effect is ToolEffect.READS or tool.is_of_agent or is_named
        why_not = tool.why_not or (
            None if may else "it writes, and is offered only where a list of tools names it"
        )
        found.append((offer, why_not))
    return found


def _unlisted(offer: Offer, lists: Mapping[str, Sequence[str]]) -> str | None:
    for owner, allowed in lists.items():
        if not is_listed_in(allowed, offer):
            return f"the tools of {owner} do not name it"
    return None


def is_listed_in(allowed: Sequence[str], offer: Offer) -> bool:
    """Whether a list of allowed tools has this one.

    ``mcp_docs_*`` has all of that server, and none of one whose tools are called
    ``mcp_docs_admin_…``; ``mcp_*`` has all of every server.
    """
    return offer.name in allowed or any(
        offer.is_foreign and _has(one, offer) for one in allowed if one.endswith("*")
    )


def _has(pattern: str, offer: Offer) -> bool:
    start = pattern[:-1]
    if start in {"mcp_", offer.family}:
        return True
    return start.startswith(offer.family) and offer.name.startswith(start)


def may_be_meant_in(names: Sequence[str], offer: Offer) -> bool:
    """The same for a list of tools to be careful with: rather one too many."""
    return is_listed_in(names, offer) or any(
        one.startswith("mcp_") and one.endswith("*") and offer.name.startswith(one[:-1])
        for one in names
    )
