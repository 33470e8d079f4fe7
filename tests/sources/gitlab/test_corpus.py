"""The recorded deliveries of the answer key, where it lies beside the repository."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from aether.sources.gitlab.extract import extract
from aether.sources.gitlab.verify import verify
from tests.sources.seeded import seeded_trigger

CORPUS: Final = Path(__file__).resolve().parents[3].parent / "shared" / "payloads"
SECRETS: Final = "gl-corpus-token,whsec_TdFJlunyGJ368lyE3vb/PU6DArNI1vMxGyjeByhBk/I="


def rows() -> list[Mapping[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "INDEX.csv").open(newline="") as index:
        return [row for row in csv.DictReader(index) if row["source"] == "gitlab"]


ROWS: Final = rows()
pytestmark = pytest.mark.skipif(not ROWS, reason="no shared/payloads beside the repository")


def read(row: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    path = CORPUS / row["file"]
    told = json.loads(path.with_name(f"{path.stem}.headers.json").read_text())
    return {name.lower(): value for name, value in told.items()}, path.read_bytes()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_recorded_delivery_reads_as_the_answer_key_says(row: Mapping[str, str]) -> None:
    headers, body = read(row)

    verify(headers, body, SECRETS, now=float(headers.get("webhook-timestamp", "0")))
    event = extract(headers, body)

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
    assert (seeded_trigger(event) or "none") in accepted


def test_the_whole_of_the_answer_key_is_read() -> None:
    certainties = Counter(row["certainty"] for row in ROWS)

    assert certainties == {"firm": 63, "judgement": 9}


def test_each_recorded_delivery_has_a_key_of_its_own() -> None:
    keys = [extract(*read(row)).delivery_key for row in ROWS]

    assert len(set(keys)) == len(ROWS)


def test_what_two_hooks_tell_of_one_change_is_one_change() -> None:
    told: dict[str, list[str]] = defaultdict(list)
    for row in ROWS:
        told[extract(*read(row)).change_key].append(row["file"])

    assert sorted(files for files in told.values() if len(files) > 1) == [
        ["gitlab/issue_hook.open.5.json", "gitlab/issue_hook.open.6.json"],
        ["gitlab/merge_request_hook.merge.2.json", "gitlab/system_hook.merge.1.json"],
    ]
