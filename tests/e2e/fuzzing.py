"""What fuzzes both doors: a filled system, the ids that exist in it, and how often is tried."""

from typing import Final

from hypothesis import HealthCheck, Phase, settings

from aether.demo.github_payloads import issue_opened_payload
from tests.e2e.system import System

SEEDS: Final = (
    "agents", "agents/capabilities", "tasks", "tasks/triggers", "tasks/sources",
    "webhook-mappings", "tools",
)  # fmt: skip
IDS: Final = (
    "1", "2", "3", "pm_sarah", "pm_analyze", "github", "decision",
    "0", "-1", "2147483648", "9223372036854775808", "nobody", "%2F", "\u00e9",
)  # fmt: skip
"""Ids of what ``fill`` makes, and some that nothing has."""


def bounded(examples: int) -> settings:
    """As many examples, the same ones each time, none of them made smaller."""
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def fill(made: System) -> None:
    """Some of everything, so that a request that names an id is not only told 404."""
    for what in SEEDS:
        made.call("POST", f"/api/{what}/seed")
    for told in (
        ("projects", {"name": "API", "source": "github", "source_project_id": "myorg/api"}),
        ("integrations", {"source": "github", "name": "One", "credentials": {"token": "x" * 20}}),
        ("memory", {"key": "decision", "content": "We use JWT.", "scope": "organizational"}),
    ):
        made.call("POST", f"/api/{told[0]}", json=told[1])
    for number in (1, 2, 3):
        assert made.deliver(issue_opened_payload("myorg/api", number)).json()["executions"]
