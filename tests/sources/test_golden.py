"""Each recorded request reads as the golden file beside it says; a case is two files."""

import json
from pathlib import Path
from typing import Final

import pytest

from aether import sources
from aether.events import event_from_summary

GUID: Final = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
GOLDEN: Final = sorted(Path(__file__).parent.glob("*/fixtures/*.golden.json"))


def headers(source: str, event_name: str) -> dict[str, str]:
    """The headers of a delivery whose event the file's name tells."""
    if source == "jira":  # the body names the event
        return {"x-atlassian-webhook-identifier": GUID}
    if source == "plane":  # so does Plane's; its delivery id is another one for each attempt
        return {"x-plane-delivery": GUID}
    if source == "gitlab":
        told = event_name.replace("_", " ").title()
        return {"x-gitlab-event": told, "idempotency-key": GUID}
    return {"x-github-event": event_name, "x-github-delivery": GUID}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: f"{path.parts[-3]}:{path.stem}")
def test_a_recorded_request_reads_as_its_golden_file_says(golden: Path) -> None:
    name, event_name = golden.parts[-3], golden.name.partition("__")[0]
    body = golden.with_name(golden.name.replace(".golden", "")).read_bytes()
    source = sources.get(name)
    assert source is not None

    event = source.extract(headers(name, event_name), body)

    assert event.payload == json.loads(body)
    assert json.loads(json.dumps(event.summary())) == json.loads(golden.read_text())
    assert event_from_summary(json.loads(golden.read_text()), json.loads(body)) == event


def test_there_are_golden_files_and_each_has_its_request() -> None:
    requests = {path.with_name(path.name.replace(".golden", "")) for path in GOLDEN}

    assert len(GOLDEN) >= 60
    assert all(path.is_file() for path in requests)


def test_a_source_that_is_not_there_is_none() -> None:
    assert sources.get("bitbucket") is None
    assert [source.name for source in sources.SOURCES] == ["github", "gitlab", "jira", "plane"]
