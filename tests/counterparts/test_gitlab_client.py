"""The GitLab that stands in for our tests, met by GitLab's own client for Python."""

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from aether.demo.serving import serving
from tests.counterparts import install
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item

pytestmark = pytest.mark.counterparts

PROJECT: Final = "acme/backend/api.v2"
TOKEN: Final = "glpat-a-token-of-the-tests-01"
SCRIPT: Final = Path(__file__).with_name("gitlab_client.py")


def said(item: Item) -> list[str]:
    return [note.body for note in item.notes]


def test_a_real_client_understands_the_stand_in_and_writes_to_it() -> None:
    try:
        python = install.python_gitlab()
    except install.RegistryUnreachableError as error:
        pytest.skip(str(error))
    gitlab = GitLabStandIn(prefix="/gitlab")
    gitlab.accept(TOKEN, "aether-person")
    issue = gitlab.add_issue(PROJECT, "It breaks", "On start.", labels=["bug"])
    for number in range(120):
        gitlab.add_note(issue, f"note {number}")
        gitlab.add_issue(PROJECT, f"Another {number}")
    request = gitlab.add_merge_request(PROJECT, "Draft: Mend it")
    gitlab.add_deployment(PROJECT, "success")

    with serving(gitlab.app) as url:
        done = subprocess.run(
            [python, "-I", SCRIPT, f"{url}/gitlab", TOKEN, PROJECT],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "user": "aether-person",
        "project": PROJECT,
        "issue": ["It breaks", "opened", ["bug"], "ann"],
        "notes": [f"note {number}" for number in range(120)],
        "issues": 121,
        "pages": 2,
        "request": ["Draft: Mend it", "main", True],
        "deployments": ["success"],
        "nobody": [],
        "created": [122, ["a", "b"]],
        "refused": [404, "404 Not found"],
    }
    assert said(issue)[-1] == "Written by a client."
    assert issue.labels == ["bug", "seen"]
    assert [one.username for one in request.approved_by] == ["aether-person"]
