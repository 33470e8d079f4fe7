"""Subscriptions as web pages hold them: graphql-ws, graphql-sse, Apollo's client and urql's."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from aether.demo.model import Reply, ToolCallScript, by_turn
from tests.counterparts.conftest import MakeSystem
from tests.counterparts.install import GraphQLClients

pytestmark = pytest.mark.counterparts

SCRIPT: Final = Path(__file__).with_name("graphql_subscriptions.mjs")
ANSWER: Final = "It is the parser, as every word of this says."
CLIENTS: Final = {
    "graphql-ws",
    "graphql-sse",
    "apollo over graphql-ws",
    "urql over graphql-ws",
    "urql over events",
}


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Their types, but for text, which is as many pieces as time gave."""
    names = [one["__typename"].removeprefix("Execution") for one in events]
    return [one for one in names if one != "Text"]


def test_every_client_follows_a_run_by_either_transport_and_goes_on_after_its_cursor(
    make_system: MakeSystem, graphql_clients: GraphQLClients
) -> None:
    with make_system() as made:
        url = made.start_web()
        made.one_task()
        made.model.say(
            by_turn(
                [
                    Reply.calls(ToolCallScript("add_labels", {"labels": ["bug"]}, "c1")),
                    Reply.text(ANSWER).paced(0.1),
                ]
            )
        )
        [execution_id] = made.open_issue("acme/api")
        with subprocess.Popen(
            [graphql_clients.node, SCRIPT, graphql_clients.folder, f"{url}/graphql",
             str(execution_id)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as client:  # fmt: skip
            assert client.stdout is not None
            begun = client.stdout.readline()
            made.start("worker")
            made.start("scheduler")
            out, errors = client.communicate(timeout=90)

        assert (begun, client.returncode) == ("begun\n", 0), errors
        told: dict[str, Any] = json.loads(out)
        assert set(told["told"]) == CLIENTS
        for events in told["told"].values():
            assert (events[0]["__typename"], events[0]["status"]) == ("ExecutionSoFar", "QUEUED")
            assert kinds(events)[-4:] == ["Reply", "ToolResult", "Reply", "End"]
            said = [one["text"] for one in events if one["__typename"] == "ExecutionText"]
            assert len(said) > 1
            assert ANSWER.startswith("".join(said))
            assert (events[-1]["status"], events[-1]["answer"]) == ("SUCCEEDED", ANSWER)
        assert set(told["again"]) == CLIENTS
        for name, rest in told["again"].items():
            whole = told["told"][name]
            place = next(
                number for number, one in enumerate(whole) if one["__typename"] == "ExecutionReply"
            )
            assert kinds(rest) == kinds(whole[place + 1 :]) == ["ToolResult", "Reply", "End"]
        assert "after: must be the cursor of an event" in told["refused"]
