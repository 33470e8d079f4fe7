"""The routing configuration as one value, reloaded when its version in the database moves."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aether.db import row, transaction
from aether.events import SourceEvent
from aether.models import (
    Project,
    SourceEventMapping,
    TaskDefinition,
    TriggerTaskMapping,
    WebhookMapping,
)
from aether.vocabulary import SourceName


@dataclass(frozen=True, kw_only=True)
class SourceMapping:
    """A source event mapping."""

    id: int
    canonical_trigger: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A webhook mapping."""

    id: int
    jq_filter: str
    canonical_trigger: str
    extract: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A trigger-task mapping of a task that exists."""

    id: int
    task_id: str
    enabled: bool
    condition: str | None
    min_association: str | None


@dataclass(frozen=True, kw_only=True)
class ProjectRow:
    """What routing needs of a project."""

    id: int
    enabled: bool


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Every mapping, task and project, as of one version."""

    version: int = 0
    source_mappings: Mapping[tuple[str, str, str | None], SourceMapping] = field(
        default_factory=dict
    )
    rules: Mapping[tuple[str, str], tuple[Rule, ...]] = field(default_factory=dict)
    gates: Mapping[str, tuple[Gate, ...]] = field(default_factory=dict)
    projects: Mapping[tuple[str, str], ProjectRow] = field(default_factory=dict)
    rates: Mapping[str, int] = field(default_factory=dict)  # task to its max_runs_per_item_hour
    cancel_on_close: frozenset[str] = frozenset()  # tasks that say so
    cancel_on_newer: frozenset[str] = frozenset()

    def project_of(self, event: SourceEvent) -> ProjectRow | None:
        """The project row that knows this event's project by any of its names."""
        for name in event.project_names:
            found = self.projects.get((event.source, name.casefold()))
            if found is not None:
                return found
        return None


async def load() -> Configuration:
    """Read the configuration and its version in one transaction.

    The version is read first: a change that commits meanwhile makes this value look old, never
    an old value look new.
    """
    async with transaction():
        version = await current_version()
        rules: dict[tuple[str, str], list[Rule]] = defaultdict(list)
        for mapping in await WebhookMapping.filter(enabled=True).order_by("id"):
            rules[mapping.source, mapping.event_type].append(
                Rule(
                    id=mapping.id,
                    jq_filter=mapping.jq_filter,
                    canonical_trigger=mapping.canonical_trigger,
                    extract=mapping.extract,
                )
            )
        tasks = await TaskDefinition.all().only(
            "id", "enabled", "max_runs_per_item_hour", "cancel_on_close", "cancel_on_newer"
        )
        enabled = {task.id: task.enabled for task in tasks}
        gates: dict[str, list[Gate]] = defaultdict(list)
        for link in await TriggerTaskMapping.all().order_by("id"):
            if link.task_id in enabled:
                gates[link.canonical_trigger].append(
                    Gate(
                        id=link.id,
                        task_id=link.task_id,
                        enabled=enabled[link.task_id],
                        condition=link.condition,
                        min_association=link.min_association,
                    )
                )
        return Configuration(
            version=version,
            source_mappings={
                (one.source, one.event_name, one.action): SourceMapping(
                    id=one.id, canonical_trigger=one.canonical_trigger
                )
                for one in await SourceEventMapping.all()
            },
            rules={key: tuple(found) for key, found in rules.items()},
            gates={key: tuple(found) for key, found in gates.items()},
            projects=_by_name(await Project.all().order_by("id")),
            rates={
                task.id: task.max_runs_per_item_hour
                for task in tasks
                if task.max_runs_per_item_hour is not None
            },
            cancel_on_close=frozenset(task.id for task in tasks if task.cancel_on_close),
            cancel_on_newer=frozenset(task.id for task in tasks if task.cancel_on_newer),
        )


def _by_name(rows: Sequence[Project]) -> dict[tuple[str, str], ProjectRow]:
    """The projects by every name that an event may call them, case folded."""
    found: dict[tuple[str, str], ProjectRow] = {}
    for one in rows:
        name = one.source_project_id.casefold()
        found[one.source, name] = ProjectRow(id=one.id, enabled=one.enabled)
    for one in rows:
        # Plane's deliveries tell a project's id, and not the workspace that may stand before it.
        slug, _, name = one.source_project_id.casefold().rpartition("/")
        if one.source is SourceName.PLANE and slug:
            row = ProjectRow(id=one.id, enabled=one.enabled)
            found.setdefault((one.source, name), row)
    return found


async def up_to_date(known: Configuration) -> Configuration:
    """``known`` where the database still has its version, else the configuration as it is now."""
    return known if known.version == await current_version() else await load()


async def current_version() -> int:
    """The version that the database's triggers raise with every change."""
    found = await row("SELECT version FROM configuration_version WHERE id = 1")
    return int(found["version"]) if found else 0
