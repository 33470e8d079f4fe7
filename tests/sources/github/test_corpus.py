"""The recorded deliveries of the answer key, where it lies beside the repository."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from aether.events import SourceEvent
from aether.sources.github import GitHub

CORPUS: Final = Path(__file__).resolve().parents[3].parent / "shared" / "payloads"
SECRET: Final = "gh-corpus-secret"

UPDATES: Final = (
    *("assigned", "unassigned", "labeled", "unlabeled", "milestoned", "demilestoned"),
    *("typed", "untyped", "locked", "unlocked", "edited", "reopened", "synchronize"),
    *("review_requested", "review_request_removed", "ready_for_review", "converted_to_draft"),
    *("auto_merge_enabled", "auto_merge_disabled", "enqueued", "dequeued"),
)
MAPPINGS: Final = {
    ("issues", "opened"): "issue.created",
    ("issues", "closed"): "issue.closed",
    **{("issues", action): "issue.updated" for action in UPDATES},
    ("issue_comment", "created"): "issue.commented",
    ("pull_request", "opened"): "pr.opened",
    ("pull_request", "closed"): "pr.closed",
    ("pull_request", "merged"): "pr.merged",
    **{("pull_request", action): "pr.updated" for action in UPDATES},
    ("pull_request_review", "submitted"): "pr.reviewed",
    ("pull_request_comment", "created"): "pr.commented",
    **{
        ("deployment_status", state): "deployment.completed"
        for state in ("success", "failure", "error")
    },
}


def rows() -> list[Mapping[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "INDEX.csv").open(newline="") as index:
        return [row for row in csv.DictReader(index) if row["source"] == "github"]


ROWS: Final = rows()
pytestmark = pytest.mark.skipif(not ROWS, reason="no shared/payloads beside the repository")


def read(row: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    path = CORPUS / row["file"]
    told = json.loads(path.with_name(f"{path.stem}.headers.json").read_text())
    return {name.lower(): value for name, value in told.items()}, path.read_bytes()


def trigger(event: SourceEvent) -> str:
    found = (MAPPINGS.get((one.event_name, one.action or "")) for one in event.candidates)
    return next((name for name in found if name), "none")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_recorded_delivery_reads_as_the_answer_key_says(row: Mapping[str, str]) -> None:
    headers, body = read(row)

    GitHub().verify(headers, body, SECRET)
    event = GitHub().extract(headers, body)

    subject, actor = event.subject, event.actor
    read_as = {
        "event_name": event.event_name,
        "action": event.action or "",
        "external_project_id": event.project_names[0] if event.project_names else "",
        "item_kind": subject.kind if subject else "",
        "item_key": subject.key if subject else "",
        "title": subject.title if subject else "",
        "author_login": actor.login if actor else "",
        "is_bot": "true" if actor and actor.is_bot else "false",
    }
    assert read_as == {name: row[name] for name in read_as}
    accepted = {row["expected_trigger"]}
    if row["certainty"] != "firm":
        accepted |= set(row["also_acceptable"].split(";"))
    assert trigger(event) in accepted


def test_no_two_recorded_deliveries_of_different_content_share_a_delivery_key() -> None:
    keys = [GitHub().extract(*read(row)).delivery_key for row in ROWS]

    assert len(set(keys)) == len(ROWS) > 80
