"""From an event to triggers to tasks, by the rows and the verdicts alone."""

from collections.abc import Mapping

from aether.engine.configuration import Configuration, Gate, Rule, SourceMapping
from aether.engine.route import Start, programs_for, route, source_mapping
from aether.events import Actor, Candidate, SourceEvent
from aether.vocabulary import SourceName


def event(
    *candidates: tuple[str, str | None], stops: bool = False, association: str | None = None
) -> SourceEvent:
    return SourceEvent(
        source=SourceName.GITHUB,
        delivery_key="d",
        change_key="c",
        event_name=candidates[0][0],
        action=candidates[0][1],
        candidates=tuple(Candidate(event_name=name, action=act) for name, act in candidates),
        stops=stops,
        actor=Actor(login="ann", association=association),
    )


def known(
    sources: Mapping[tuple[str, str | None], str] | None = None,
    rules: tuple[Rule, ...] = (),
    gates: Mapping[str, tuple[Gate, ...]] | None = None,
) -> Configuration:
    rows = sources if sources is not None else {("issues", "opened"): "issue.created"}
    return Configuration(
        source_mappings={
            ("github", name, act): SourceMapping(id=number, canonical_trigger=found)
            for number, ((name, act), found) in enumerate(rows.items(), start=1)
        },
        rules={("github", "issues"): rules} if rules else {},
        gates=gates or {},
    )


def rule(jq_filter: str, trigger: str) -> Rule:
    return Rule(id=1, jq_filter=jq_filter, canonical_trigger=trigger, extract={})


def gate(
    task_id: str,
    *,
    enabled: bool = True,
    condition: str | None = None,
    min_association: str | None = None,
) -> Gate:
    return Gate(
        id=1,
        task_id=task_id,
        enabled=enabled,
        condition=condition,
        min_association=min_association,
    )


def mapped_trigger(configuration: Configuration, told: SourceEvent) -> str | None:
    found = source_mapping(configuration, told)
    return found.canonical_trigger if found else None


def test_the_sharpest_candidate_with_a_row_gives_the_trigger() -> None:
    rows: dict[tuple[str, str | None], str] = {
        ("pull_request", "merged"): "pr.merged",
        ("pull_request", "closed"): "pr.closed",
    }
    merged = event(("pull_request", "merged"), ("pull_request", "closed"))

    assert mapped_trigger(known(rows), merged) == "pr.merged"
    del rows["pull_request", "merged"]
    assert mapped_trigger(known(rows), merged) == "pr.closed"


def test_an_exact_action_beats_a_null_one() -> None:
    rows: dict[tuple[str, str | None], str] = {
        ("issues", None): "issue.updated",
        ("issues", "opened"): "issue.created",
    }

    assert mapped_trigger(known(rows), event(("issues", "opened"))) == "issue.created"
    assert mapped_trigger(known(rows), event(("issues", "labeled"))) == "issue.updated"


def test_after_a_stop_no_null_row_is_asked() -> None:
    rows: dict[tuple[str, str | None], str] = {("deployment_status", None): "deployment.completed"}

    assert mapped_trigger(known(rows), event(("deployment_status", "queued"), stops=True)) is None
    assert mapped_trigger(known(rows), event(("deployment_status", None), stops=True)) is not None


def test_rules_add_triggers_and_a_task_runs_once() -> None:
    configuration = known(
        rules=(rule(".a", "issue.urgent"), rule(".b", "issue.rare")),
        gates={"issue.created": (gate("triage"),), "issue.urgent": (gate("triage"), gate("page"))},
    )

    routing = route(configuration, event(("issues", "opened")), {".a": True, ".b": False})

    assert routing.canonical_triggers == ("issue.created", "issue.urgent")
    assert routing.starts == (
        Start(task_id="triage", canonical_trigger="issue.created"),
        Start(task_id="page", canonical_trigger="issue.urgent"),
    )


def test_every_program_that_may_decide_is_asked_once() -> None:
    configuration = known(
        rules=(rule(".a", "issue.urgent"), rule(".a", "issue.other")),
        gates={
            "issue.created": (gate("triage", condition=".c"),),
            "issue.urgent": (gate("page", condition=".c"), gate("call", condition=".d")),
            "pr.opened": (gate("audit", condition=".never"),),
        },
    )

    assert programs_for(configuration, event(("issues", "opened"))) == (".a", ".c", ".d")


def test_a_gate_whose_condition_is_false_or_failed_stays_shut_and_says_why() -> None:
    gates = {"issue.created": (gate("triage", condition=".c"),)}
    opened = event(("issues", "opened"))

    false = route(known(gates=gates), opened, {".c": False})
    failed = route(known(gates=gates), opened, {".c": None})

    assert (false.starts, false.canonical_triggers) == ((), ("issue.created",))
    assert false.reason == "task triage held back: its condition is false"
    assert failed.starts == ()
    assert failed.reason == "task triage held back: its condition failed or took too long"


def test_an_author_who_stands_too_far_away_is_held_back() -> None:
    gates = {"issue.created": (gate("triage", min_association="MEMBER"),)}

    def starts(association: str | None) -> int:
        opened = event(("issues", "opened"), association=association)
        return len(route(known(gates=gates), opened, {}).starts)

    assert [starts(one) for one in ("OWNER", "MEMBER")] == [1, 1]
    assert [starts(one) for one in ("CONTRIBUTOR", "NONE", "MANNEQUIN", None)] == [0, 0, 0, 0]


def test_a_disabled_task_and_an_unmapped_event_say_why_nothing_starts() -> None:
    gates = {"issue.created": (gate("triage", enabled=False),)}

    disabled = route(known(gates=gates), event(("issues", "opened")), {})
    unknown = route(known(), event(("star", "created")), {})
    taskless = route(known(), event(("issues", "opened")), {})

    assert disabled.reason == "task triage is disabled"
    assert (unknown.canonical_triggers, unknown.reason) == ((), "no mapping knows star/created")
    assert taskless.canonical_triggers == ("issue.created",)
    assert taskless.reason == "no task is mapped to issue.created"
