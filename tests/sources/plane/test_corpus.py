"""The recorded deliveries of the answer key, where it lies beside the repository."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from aether.errors import SignatureError
from aether.sources.plane import Plane
from tests.sources.seeded import seeded_trigger

CORPUS: Final = Path(__file__).resolve().parents[3].parent / "shared" / "payloads"
SECRET: Final = "plane_wh_0123456789abcdef0123456789abcdef"
BY_ACCOUNT: Final = "plane/issue.created.3.json"
"""Judged a bot's by a look-up of our own account: nothing in the delivery tells it."""


def rows() -> list[Mapping[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "INDEX.csv").open(newline="") as index:
        return [row for row in csv.DictReader(index) if row["source"] == "plane"]


ROWS: Final = rows()
pytestmark = pytest.mark.skipif(not ROWS, reason="no shared/payloads beside the repository")


def read(row: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    path = CORPUS / row["file"]
    told = json.loads(path.with_name(f"{path.stem}.headers.json").read_text())
    return {name.lower(): value for name, value in told.items()}, path.read_bytes()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_recorded_delivery_reads_as_the_answer_key_says(row: Mapping[str, str]) -> None:
    event = Plane().extract(*read(row))

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
        "item_author": (subject.author or "") if subject else "",
    }
    expected = {name: row[name] for name in read_as}
    if row["file"] == BY_ACCOUNT:
        expected["is_bot"] = "false"
    assert read_as == expected
    accepted = {row["expected_trigger"]}
    if row["certainty"] != "firm":
        accepted |= set(row["also_acceptable"].split(";"))
    assert (seeded_trigger(event) or "none") in accepted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_recorded_signature_verifies_over_the_very_bytes(row: Mapping[str, str]) -> None:
    headers, body = read(row)

    Plane().verify(headers, body, SECRET)
    with pytest.raises(SignatureError, match="does not match"):
        Plane().verify(headers, body + b" ", SECRET)


def test_the_whole_of_the_answer_key_is_read() -> None:
    assert Counter(row["certainty"] for row in ROWS) == {"firm": 27, "judgement": 4}


def test_no_two_recorded_deliveries_share_a_delivery_key() -> None:
    keys = [Plane().extract(*read(row)).delivery_key for row in ROWS]

    assert len(set(keys)) == len(ROWS)


def test_deliveries_are_read_that_lost_any_of_their_parts() -> None:
    for row in ROWS:
        headers, body = read(row)
        for broken in mutilations(json.loads(body)):
            Plane().extract(headers, json.dumps(broken).encode())


def mutilations(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The payload with each part, down to the third level, left out or of another type."""
    made: list[dict[str, Any]] = []
    for path in paths(payload, 3):
        for value in (None, [], {}, "", "None", 7, True, [None], {"id": [None]}):
            copy = json.loads(json.dumps(payload))
            holder = copy
            for name in path[:-1]:
                holder = holder[name]
            holder[path[-1]] = value
            made.append(copy)
    return made


def paths(value: dict[str, Any], depth: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, inner in value.items():
        found.append((name,))
        if isinstance(inner, dict) and depth > 1:
            found += [(name, *rest) for rest in paths(inner, depth - 1)]
    return found
