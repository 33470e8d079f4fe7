"""The recorded deliveries of the answer key, where it lies beside the repository."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from aether.errors import SignatureError
from aether.sources.jira import Jira
from tests.sources.seeded import seeded_trigger

CORPUS: Final = Path(__file__).resolve().parents[3].parent / "shared" / "payloads"
SECRET: Final = "jira-corpus-secret"


def rows() -> list[Mapping[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "INDEX.csv").open(newline="") as index:
        return [row for row in csv.DictReader(index) if row["source"] == "jira"]


ROWS: Final = rows()
pytestmark = pytest.mark.skipif(not ROWS, reason="no shared/payloads beside the repository")


def read(row: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    path = CORPUS / row["file"]
    told = json.loads(path.with_name(f"{path.stem}.headers.json").read_text())
    return {name.lower(): value for name, value in told.items()}, path.read_bytes()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_recorded_delivery_reads_as_the_answer_key_says(row: Mapping[str, str]) -> None:
    event = Jira().extract(*read(row))

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
    assert read_as == {name: row[name] for name in read_as}
    accepted = {row["expected_trigger"]}
    if row["certainty"] != "firm":
        accepted |= set(row["also_acceptable"].split(";"))
    assert (seeded_trigger(event) or "none") in accepted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_each_signed_delivery_verifies_and_each_unsigned_one_is_refused(
    row: Mapping[str, str],
) -> None:
    headers, body = read(row)

    if "x-hub-signature" in headers:
        Jira().verify(headers, body, SECRET)
        with pytest.raises(SignatureError, match="does not match"):
            Jira().verify(headers, body + b" ", SECRET)
    else:
        with pytest.raises(SignatureError, match="is missing"):
            Jira().verify(headers, body, SECRET)


def test_no_two_recorded_deliveries_of_different_content_share_a_delivery_key() -> None:
    keys = [Jira().extract(*read(row)).delivery_key for row in ROWS]

    assert len(set(keys)) == len(ROWS) > 40
