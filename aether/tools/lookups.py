"""Lookups: tools that only read, where there is no run and no item at hand.

What they may touch is told by a narrower context than a run's: no effects, no lease, nothing to
write with.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aether import sources
from aether.config import Settings
from aether.credentials import Credentials
from aether.db import rows
from aether.events import ItemKind, Subject
from aether.memory.search import Visibility
from aether.models import Project
from aether.platform_auth import from_environment, site_of
from aether.sources.base import KeyedSource, Outbound, Source
from aether.tools import TOOLS, comments, items, memory
from aether.tools.base import RefusedError
from aether.vocabulary import ToolEffect


@dataclass(frozen=True, kw_only=True)
class Looker:
    """Who looks, and what may be seen: memories, and the items of one project if one is named."""

    settings: Settings
    credentials: Credentials
    agent_id: str | None
    visibility: Visibility
    project: Project | None

    async def item(self, arguments: Mapping[str, Any]) -> tuple[Source, Outbound, Subject]:
        """The item that ``issue`` names, of the project, with the credential to read it by.

        Raises:
            RefusedError: there is no project, no item is named, or it is another project's.
            NotConfiguredError: nobody's credential speaks to that platform.
        """
        project = self.project
        source = sources.get(project.source) if project else None
        if project is None or source is None:
            raise RefusedError("there is no project whose items could be read")
        wanted = str(arguments.get("issue") or "").strip()
        kind: ItemKind = "pr" if wanted.startswith("!") else "issue"
        key = wanted.lstrip("#!")
        if not key:
            raise RefusedError("issue: name the item; there is none at hand")
        place = project.source_project_id
        if isinstance(source, KeyedSource) and not source.is_of_project(place, key):
            raise RefusedError(f"issue: {key[:100]} is no item of the project {place}")
        client = await self.credentials.outbound(
            project.source,
            agent_id=self.agent_id,
            project_id=project.id,
            project_key=place,
            site=await self._site(project),
        )
        return source, client, Subject(kind=kind, project=place, key=key)

    async def _site(self, project: Project) -> str:
        """Where the project is: where an integration of its own leads, else the environment's
        own site; without that, where an integration that is everybody's leads."""
        found = await rows(
            """SELECT base_url, project_id FROM integration
               WHERE source = $1 AND enabled AND (agent_id IS NULL OR agent_id = $2)
                 AND (project_id IS NULL OR project_id = $3)
               ORDER BY project_id IS NULL, agent_id IS NULL, id LIMIT 1""",
            project.source, self.agent_id, project.id,
        )  # fmt: skip
        if not found:
            return ""
        is_own = found[0]["project_id"] is not None
        if not is_own and from_environment(self.settings, project.source):
            return ""
        return site_of(self.settings, project.source, found[0]["base_url"])


Lookup = Callable[[Looker, Mapping[str, Any]], Awaitable[str]]
"""The model's arguments in, a text out, as a ``Tool``'s; nothing outside is changed."""


async def get_issue(looker: Looker, arguments: Mapping[str, Any]) -> str:
    """The item as it is now, as JSON."""
    return await items.read(*await looker.item(arguments))


async def list_comments(looker: Looker, arguments: Mapping[str, Any]) -> str:
    """The newest comments that everybody may read who may read the item, as JSON."""
    return await comments.read(*await looker.item(arguments), arguments)


async def recall(looker: Looker, arguments: Mapping[str, Any]) -> str:
    """Memories near the query, as JSON."""
    return await memory.recalled(looker.settings, looker.visibility, arguments)


LOOKUPS: Final[Mapping[str, Lookup]] = {
    "get_issue": get_issue,
    "list_comments": list_comments,
    "recall": recall,
}
"""The built-in ones, by the names that they have as tools."""
OF_PROJECT: Final = frozenset({"get_issue", "list_comments"})
"""Those that read an item of a project, and need one."""


def effect_of(name: str, told: ToolEffect) -> ToolEffect:
    """What counts of the effect that a tool of ours is told to have: the code knows what writes.

    One that reads may be told to write, which holds it back; one that writes never only reads.
    """
    return ToolEffect.WRITES if name in TOOLS and name not in LOOKUPS else told


def naming_its_item(parameters: Mapping[str, Any], project: Project) -> dict[str, Any]:
    """A tool's parameters where ``issue`` may not be left out, since no item is at hand."""
    named = {
        "type": ["integer", "string"],
        "description": f"Number or key of an item of the {project.source} project "
        f'{project.source_project_id}, such as 7 or "ABC-12"; a merge request as "!7".',
    }
    required = [one for one in parameters.get("required") or () if one != "issue"]
    return {
        **parameters,
        "required": [*required, "issue"],
        "properties": {**(parameters.get("properties") or {}), "issue": named},
    }
