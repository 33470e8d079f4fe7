"""What an agent may look up in a chat: enabled tools that only read and need no item at hand."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aether.config import Settings
from aether.db import UNAVAILABLE
from aether.engine.arguments import BadArgumentsError, read_arguments
from aether.engine.offering import Offer
from aether.errors import AetherError
from aether.llm.prompts import tool_data_text, tool_result_text
from aether.memory.search import Visibility
from aether.models import Agent, ToolDefinition
from aether.redact import redact_known
from aether.tools import TOOLS, memory
from aether.vocabulary import ToolEffect

log = logging.getLogger(__name__)

Lookup = Callable[[Settings, Visibility, Mapping[str, Any]], Awaitable[str]]

LOOKUPS: Final[Mapping[str, Lookup]] = {"recall": memory.recalled}
"""Those that need nothing but who asks; every other one acts on the item that woke an agent."""


@dataclass(frozen=True, kw_only=True)
class Lookups:
    """The tools of one chat."""

    settings: Settings
    visibility: Visibility
    offered: Mapping[str, Offer]

    @classmethod
    async def of(
        cls, settings: Settings, agent_id: str | None, visibility: Visibility
    ) -> "Lookups":
        """The lookups that are enabled, and that the agent may use."""
        allowed = set(LOOKUPS)
        agent = await Agent.get_or_none(id=agent_id) if agent_id else None
        if agent is not None and agent.tools is not None:
            allowed &= set(agent.tools)
        found = await ToolDefinition.filter(
            enabled=True, effect=ToolEffect.READS, name__in=sorted(allowed)
        ).order_by("id")
        offered = {
            one.name: Offer(
                name=one.name,
                description=one.description,
                parameters=one.parameters,
                effect=one.effect,
                call=TOOLS[one.name],  # as a run would; a chat asks LOOKUPS
            )
            for one in found
        }
        return cls(settings=settings, visibility=visibility, offered=offered)

    def to_model(self) -> list[dict[str, Any]] | None:
        """OpenAI's form; None where there are none."""
        return [one.to_model() for one in self.offered.values()] or None

    async def run(self, name: str, raw: str | None) -> str:
        """The tool's text for the model; whatever fails is told to it as a text, too.

        Raises:
            OSError, asyncpg.PostgresError: the database is out of reach.
        """
        if name not in self.offered:
            known = ", ".join(sorted(self.offered)) or "none"
            return f"Error: there is no tool {name[:100]!r}; the tools are: {known}"
        try:
            arguments = read_arguments(raw, self.offered[name].parameters)
            told = await LOOKUPS[name](self.settings, self.visibility, arguments)
            text = redact_known(told, self.settings)
        except (AetherError, BadArgumentsError) as error:
            return tool_result_text(f"Error: {error}")
        except UNAVAILABLE:
            raise
        except Exception:  # the tool loop's end: the model hears of it, the log has the trace
            log.exception("tool %s failed in a chat", name)
            return "Error: the tool failed for a reason of its own"
        return tool_data_text(name, text, nonce=secrets.token_hex(8))
