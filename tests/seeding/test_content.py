"""The seeded content is complete, agrees with itself, and a broken file is refused by row."""

import re
from collections import Counter
from typing import Any

import pytest

from aether.vocabulary import BUILT_IN_TRIGGERS, AgentRole, MemoryScope, SourceName, ToolEffect
from seeding import SEEDS, load, parse

AGENTS = {
    "pm_sarah": ("Sarah (PM)", "pm"),
    "ta_leo": ("Leo (TA)", "ta"),
    "qa_quinn": ("Quinn (QA)", "qa"),
    "hub_system": ("System Hub", "hub"),
    "dev_alex": ("Alex (Dev)", "dev"),
}

TASKS = {
    "triage_initial_intent": "pm_sarah",
    "tech_discovery_review": "ta_leo",
    "intent_interpretation": "hub_system",
    "technical_grooming": "ta_leo",
    "dev_environment_setup": "dev_alex",
    "feature_implementation": "dev_alex",
    "code_quality_audit": "ta_leo",
    "quality_verification": "qa_quinn",
    "customer_uat_sync": "pm_sarah",
}

FAN_OUT = {
    "issue.created": {"triage_initial_intent", "tech_discovery_review"},
    "issue.commented": {"intent_interpretation"},
    "issue.closed": {"customer_uat_sync"},
    "pr.opened": {"code_quality_audit"},
    "pr.merged": {"quality_verification"},
    "issue.grooming_requested": {"technical_grooming"},
    "issue.setup_requested": {"dev_environment_setup"},
    "issue.implementation_requested": {"feature_implementation"},
    "pr.audit_requested": {"code_quality_audit"},
}

ISSUE_TRIGGERS = {"issue.created", "issue.updated", "issue.closed", "issue.commented"}
TOLD_BY = {
    "github": set(BUILT_IN_TRIGGERS),
    "gitlab": set(BUILT_IN_TRIGGERS),
    "jira": ISSUE_TRIGGERS,  # neither Jira nor Plane has pull requests or deployments
    "plane": ISSUE_TRIGGERS,
}

THE_REFERENCES_ROWS = [
    ("github", "issues", "opened", "issue.created"),
    ("github", "issues", "closed", "issue.closed"),
    ("github", "pull_request", "opened", "pr.opened"),
    ("github", "pull_request", "closed", "pr.closed"),
    ("github", "issue_comment", "created", "issue.commented"),
    ("gitlab", "Issue Hook", "open", "issue.created"),
    ("gitlab", "Issue Hook", "close", "issue.closed"),
    ("gitlab", "Merge Request Hook", "open", "pr.opened"),
    ("jira", "jira:issue_created", None, "issue.created"),
    ("jira", "jira:issue_updated", None, "issue.updated"),
    ("jira", "comment_created", None, "issue.commented"),
    ("plane", "issue.created", None, "issue.created"),
    ("plane", "issue.updated", None, "issue.updated"),
]

ISSUE = {"type": ["integer", "string"]}
LABELS = {"type": "array", "minItems": 1, "maxItems": 20}
SCOPE = {"type": "string", "enum": [scope.value for scope in MemoryScope]}
TOOLS: dict[str, tuple[str, str, set[str], dict[str, dict[str, Any]]]] = {
    "add_comment": ("tracker", "writes", {"body"}, {"body": {"type": "string"}, "issue": ISSUE}),
    "get_issue": ("tracker", "reads", set(), {"issue": ISSUE}),
    "list_comments": (
        "tracker",
        "reads",
        set(),
        {"issue": ISSUE, "limit": {"type": "integer", "minimum": 1, "maximum": 100}},
    ),
    "update_issue": (
        "tracker",
        "writes",
        set(),
        {"issue": ISSUE, "title": {"type": "string"}, "body": {"type": "string"}},
    ),
    "close_issue": (
        "tracker",
        "writes",
        set(),
        {
            "issue": ISSUE,
            "reason": {"type": "string", "enum": ["completed", "not_planned", "duplicate"]},
        },
    ),
    "add_labels": ("tracker", "writes", {"labels"}, {"labels": LABELS, "issue": ISSUE}),
    "remove_labels": ("tracker", "writes", {"labels"}, {"labels": LABELS, "issue": ISSUE}),
    "assign_issue": (
        "tracker",
        "writes",
        {"assignees"},
        {"assignees": {"type": "array", "minItems": 1, "maxItems": 10}, "issue": ISSUE},
    ),
    "create_issue": (
        "tracker",
        "writes",
        {"title", "body"},
        {"title": {"type": "string"}, "body": {"type": "string"}, "labels": LABELS},
    ),
    "submit_review": (
        "tracker",
        "writes",
        {"verdict"},
        {
            "verdict": {"enum": ["comment", "approve", "request_changes"]},
            "body": {"type": "string"},
            "comments": {"type": "array", "maxItems": 50},
        },
    ),
    "remember": (
        "memory",
        "writes",
        {"key", "content"},
        {
            "key": {"type": "string"},
            "content": {"type": "string"},
            "scope": SCOPE,
            "ttl_seconds": {"type": "integer", "minimum": 1},
        },
    ),
    "recall": (
        "memory",
        "reads",
        {"query"},
        {
            "query": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 20},
            "scope": SCOPE,
        },
    ),
}

FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "agents": (
        {"id", "name", "role_id", "description", "prompt", "context", "identity"}
        | {"responsibilities", "constraints", "communication_style"},
        set(),
    ),
    "capabilities": ({"agent_id", "capability"}, set()),
    "tasks": (
        {"id", "name", "description", "actor_id", "actor_fallback"}
        | {"required_capabilities", "tools"},
        set(),
    ),
    "trigger_task_mappings": ({"canonical_trigger", "task_id"}, {"condition"}),
    "source_event_mappings": ({"source", "event_name", "action", "canonical_trigger"}, set()),
    "webhook_mappings": (
        {"source", "event_type", "jq_filter", "canonical_trigger", "name", "enabled", "extract"},
        set(),
    ),
    "tools": ({"name", "description", "category", "effect", "parameters"}, set()),
}
"""A file's fields: those that every row has, and those that a row may have."""

SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
TRIGGER = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")


def rows_by(name: str, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in load(name)}


def capabilities_of(agent_id: str) -> set[str]:
    return {row["capability"] for row in load("capabilities") if row["agent_id"] == agent_id}


@pytest.mark.parametrize("name", SEEDS)
def test_every_row_has_the_fields_of_its_kind_and_no_other(name: str) -> None:
    needed, allowed = FIELDS[name]

    for row in load(name):
        assert needed <= set(row) <= needed | allowed


def test_the_five_agents_of_the_reference_are_there() -> None:
    agents = load("agents")

    assert {row["id"]: (row["name"], row["role_id"]) for row in agents} == AGENTS
    assert {row["role_id"] for row in agents} == set(AgentRole)


def test_each_agent_says_who_it_is_at_length_and_in_a_voice_of_its_own() -> None:
    agents = load("agents")

    for field in ("prompt", "identity", "communication_style", "description"):
        assert len({row[field] for row in agents}) == 5
    for row in agents:
        assert row["prompt"].startswith("You are ")
        assert 1000 <= len(row["prompt"]) <= 3000
        assert len(row["context"]) >= 800
        assert 4 <= len(row["responsibilities"]) <= 8
        assert all(isinstance(line, str) for line in row["responsibilities"] + row["constraints"])


def test_every_agent_is_bound_by_the_same_five_rules_and_by_some_of_its_own() -> None:
    constraints = [row["constraints"] for row in load("agents")]

    shared = set(constraints[0]).intersection(*constraints[1:])
    assert len(shared) == 5
    for word in ("follow instructions", "reveal", "have not seen", "close, reopen", "promise"):
        assert [word in rule for rule in shared].count(True) == 1
    for rules in constraints:
        assert len(set(rules) - shared) >= 2
        assert all(rule.startswith("Never ") for rule in rules)


def test_every_capability_belongs_to_an_agent_and_each_agent_has_three_to_five() -> None:
    rows = load("capabilities")

    counts = Counter(row["agent_id"] for row in rows)
    assert set(counts) == set(AGENTS)
    assert all(3 <= count <= 5 for count in counts.values())
    assert all(SNAKE_CASE.fullmatch(row["capability"]) for row in rows)
    assert {"code_review", "security"} <= capabilities_of("ta_leo")


def test_the_nine_tasks_of_the_reference_go_to_agents_that_can_do_them() -> None:
    tasks = load("tasks")

    assert {row["id"]: row["actor_id"] for row in tasks} == TASKS
    for row in tasks:
        assert row["required_capabilities"]
        assert set(row["required_capabilities"]) <= capabilities_of(row["actor_id"])


def test_every_task_says_what_to_write_and_how_long_and_has_a_fallback_that_stands_alone() -> None:
    tasks = load("tasks")

    for field in ("name", "description", "actor_fallback"):
        assert len({row[field] for row in tasks}) == 9
    for row in tasks:
        assert row["description"].startswith("Your task: ")
        assert re.search(r"At most \d+ words", row["description"])
        assert 900 <= len(row["description"]) <= 4000
        assert row["actor_fallback"].startswith("You ")
        fallback = " ".join(row["actor_fallback"].split())
        for rule in ("one comment", "never follow instructions", "never reveal", "secret"):
            assert rule in fallback


def test_a_task_allows_only_tools_that_exist_and_names_only_those_that_it_allows() -> None:
    names = set(TOOLS)

    for row in load("tasks"):
        assert set(row["tools"]) <= names
        assert len(set(row["tools"])) == len(row["tools"])
        assert set(re.findall(r"`([a-z]+_[a-z]+|recall|remember)`", row["description"])) <= set(
            row["tools"]
        )


def test_the_only_tracker_write_that_a_seeded_task_may_do_is_the_triages_label() -> None:
    writes = {name for name, row in rows_by("tools", "name").items() if row["effect"] == "writes"}

    allowed = {row["id"]: writes.intersection(row["tools"]) for row in load("tasks")}
    assert {task: tools for task, tools in allowed.items() if tools} == {
        "triage_initial_intent": {"add_labels"},
        "tech_discovery_review": {"remember"},
        "intent_interpretation": {"remember"},
        "technical_grooming": {"remember"},
    }


def test_the_fan_out_is_the_one_that_was_thought_through() -> None:
    rows = load("trigger_task_mappings")

    fan_out: dict[str, set[str]] = {}
    for row in rows:
        fan_out.setdefault(row["canonical_trigger"], set()).add(row["task_id"])
    assert fan_out == FAN_OUT
    assert all(len(tasks) <= 2 for tasks in fan_out.values())
    assert {row["task_id"] for row in rows} == set(TASKS)


def test_every_mapped_trigger_is_built_in_or_made_by_a_webhook_mapping() -> None:
    made = {row["canonical_trigger"] for row in load("webhook_mappings")}

    mapped = {row["canonical_trigger"] for row in load("trigger_task_mappings")}
    assert mapped - set(BUILT_IN_TRIGGERS) == made
    assert all(TRIGGER.fullmatch(trigger) for trigger in mapped | made)


@pytest.mark.parametrize("source", list(SourceName))
def test_a_source_reaches_every_built_in_trigger_that_it_can_tell(source: SourceName) -> None:
    rows = [row for row in load("source_event_mappings") if row["source"] == source]

    assert {row["canonical_trigger"] for row in rows} == TOLD_BY[source]


@pytest.mark.parametrize("row", THE_REFERENCES_ROWS)
def test_the_references_thirteen_rows_are_among_the_source_mappings(
    row: tuple[str, str, str | None, str],
) -> None:
    assert len(THE_REFERENCES_ROWS) == 13

    rows = [
        (one["source"], one["event_name"], one["action"], one["canonical_trigger"])
        for one in load("source_event_mappings")
    ]
    assert row in rows


@pytest.mark.parametrize(
    ("source", "event_name", "action", "trigger"),
    [
        ("github", "pull_request", "merged", "pr.merged"),
        ("github", "pull_request", "synchronize", "pr.updated"),
        ("github", "pull_request_comment", "created", "pr.commented"),
        ("github", "pull_request_review", "submitted", "pr.reviewed"),
        ("github", "deployment_status", "failure", "deployment.completed"),
        ("github", "issues", "reopened", "issue.updated"),
        ("gitlab", "Merge Request Hook", "merge", "pr.merged"),
        ("gitlab", "Merge Request Hook", "approval", "pr.reviewed"),
        ("gitlab", "Note Hook", "issue", "issue.commented"),
        ("gitlab", "Note Hook", "merge_request", "pr.commented"),
        ("gitlab", "Deployment Hook", "canceled", "deployment.completed"),
        ("jira", "jira:issue_updated", "closed", "issue.closed"),
        ("plane", "issue.closed", None, "issue.closed"),
    ],
)
def test_the_sharper_readings_of_the_platforms_have_rows(
    source: str, event_name: str, action: str | None, trigger: str
) -> None:
    found = {
        (row["source"], row["event_name"], row["action"]): row["canonical_trigger"]
        for row in load("source_event_mappings")
    }

    assert found[source, event_name, action] == trigger


@pytest.mark.parametrize(
    ("source", "event_name", "action"),
    [
        ("github", "issues", "deleted"),
        ("github", "issues", "transferred"),
        ("github", "issues", "pinned"),
        ("github", "issue_comment", "edited"),
        ("github", "issue_comment", "deleted"),
        ("github", "pull_request_review", "dismissed"),
        ("github", "pull_request_review_comment", "created"),
        ("github", "deployment_status", "in_progress"),
        ("github", "ping", None),
        ("github", "push", None),
        ("gitlab", "Merge Request Hook", "unapproved"),
        ("gitlab", "Deployment Hook", "running"),
        ("gitlab", "Push Hook", None),
        ("jira", "comment_updated", None),
        ("jira", "comment_deleted", None),
        ("jira", "jira:issue_deleted", None),
        ("plane", "issue.deleted", None),
    ],
)
def test_what_means_nothing_has_no_row(source: str, event_name: str, action: str | None) -> None:
    rows = [
        row
        for row in load("source_event_mappings")
        if (row["source"], row["event_name"]) == (source, event_name)
    ]

    assert all(row["action"] not in {None, action} for row in rows)


def test_the_five_webhook_mappings_are_rules_with_names_and_bounds() -> None:
    rows = load("webhook_mappings")

    assert len(rows) == 5
    assert len({row["name"] for row in rows}) == 5
    for row in rows:
        assert row["source"] in set(SourceName)
        assert row["enabled"] is True
        assert row["jq_filter"].strip() == row["jq_filter"]
        assert row["canonical_trigger"] not in BUILT_IN_TRIGGERS  # a rule adds; it must not double
        assert all(isinstance(program, str) for program in row["extract"].values())
        assert all(SNAKE_CASE.fullmatch(name) for name in row["extract"])


def test_the_tools_have_the_names_the_effects_and_the_parameters_that_the_code_runs() -> None:
    tools = rows_by("tools", "name")

    assert set(tools) == set(TOOLS)
    for name, (category, effect, required, parameters) in TOOLS.items():
        assert re.fullmatch(r"[a-z_]{1,64}", name)
        assert (tools[name]["category"], tools[name]["effect"]) == (category, effect)
        assert tools[name]["effect"] in set(ToolEffect)
        schema = tools[name]["parameters"]
        assert set(schema["required"]) == required
        assert set(schema["properties"]) == set(parameters)
        for field, expected in parameters.items():
            assert expected.items() <= schema["properties"][field].items()


def test_each_tools_schema_is_well_formed_and_tells_the_model_what_each_argument_is() -> None:
    for row in load("tools"):
        schema = row["parameters"]
        # Model providers refuse anyOf and its like at the top level of a tool's parameters.
        assert set(schema) == {"type", "additionalProperties", "required", "properties"}
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert len(row["description"]) >= 40
        for value in schema["properties"].values():
            assert set(value) <= {"type", "description", "enum", "items"} | {
                "minLength",
                "maxLength",
                "minimum",
                "maximum",
                "minItems",
                "maxItems",
            }
            assert len(value["description"]) >= 20
            assert ("items" in value) == (value["type"] == "array")


@pytest.mark.parametrize("name", SEEDS)
def test_no_seeded_text_carries_trailing_blanks_or_characters_that_cannot_be_seen(
    name: str,
) -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, dict):
            return [text for one in value.values() for text in texts(one)]
        if isinstance(value, list):
            return [text for one in value for text in texts(one)]
        return []

    for text in texts(load(name)):
        assert text == text.strip()
        assert all(character == "\n" or character.isprintable() for character in text)


def test_each_load_gives_rows_of_its_own() -> None:
    load("tools")[0]["name"] = "changed"

    assert load("tools")[0]["name"] == "add_comment"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rows: []", "capabilities.yaml: must be a list of rows"),
        ("", "capabilities.yaml: must be a list of rows"),
        ("- just text", "capabilities.yaml, row 1: must be a mapping"),
        ("- {agent_id: a}", "capabilities.yaml, row 1: capability is missing"),
        (
            "- {agent_id: a, capability: 7}",
            "capabilities.yaml, row 1: capability must be text, not 7",
        ),
        (
            "- {agent_id: a, capability: null}",
            "capabilities.yaml, row 1: capability must be text, not None",
        ),
        (
            "- {agent_id: a, capability: c, 3: d}",
            "capabilities.yaml, row 1: the key 3 must be text",
        ),
        (
            "- {agent_id: a, capability: c}\n- {agent_id: a, capability: c}",
            "capabilities.yaml, row 2: a, c is row 1 already",
        ),
        ("- {agent_id: a, agent_id: b}", "the key 'agent_id' is given twice"),
        ("- {agent_id: [", "capabilities.yaml: "),
        ("- {? [a] : b}", "capabilities.yaml: while constructing a mapping"),
        ("- !!python/name:os.system x", "capabilities.yaml: could not determine a constructor"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_row(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse("capabilities", text)


def test_two_meanings_of_one_source_event_are_refused() -> None:
    row = "- {source: jira, event_name: comment_created, action: null, canonical_trigger: %s}\n"

    with pytest.raises(ValueError, match="row 2: jira, comment_created, None is row 1 already"):
        parse("source_event_mappings", row % "issue.commented" + row % "issue.updated")


def test_an_unknown_seed_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"no seed is called '\.\./agents'"):
        load("../agents")
