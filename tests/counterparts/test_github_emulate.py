"""GitHub as emulate, the model as aimock: an App's token, signed webhooks, our own comments."""

import re
from typing import Any

import pytest

from tests.counterparts.conftest import MakeAiMock, MakeEmulate, MakeSystem
from tests.counterparts.github import (
    APP_ID,
    BOT,
    INSTALLATION_ID,
    OWNER,
    USER,
    USER_TOKEN,
    App,
    Emulate,
    new_private_key,
)
from tests.counterparts.models import calls, says
from tests.e2e.system import SECRET, System, free_port, wait_for

pytestmark = pytest.mark.counterparts

BROKEN = "The parser breaks on start."
LABELS = calls("add_labels", {"labels": ["bug"]}, userMessage=BROKEN, hasToolResult=False)
PARSER = says("It is the parser.", userMessage=BROKEN, hasToolResult=True)
MORE = says("Nothing more to say.", userMessage="And the lexer?")


def words(github: Emulate, number: int) -> list[tuple[str, str, str]]:
    """Login, type and text of each comment, without the marker that ours carry."""
    return [
        (
            one["user"]["login"],
            one["user"]["type"],
            re.sub(r"\n\n<!-- aether:[\w-]{32} -->$", "", one["body"]),
        )
        for one in github.comments(number)
    ]


def deliveries(system: System, count: int) -> list[dict[str, Any]]:
    """What the system has received, oldest first, once there are ``count`` of them."""

    def arrived() -> list[dict[str, Any]] | None:
        found = system.call("GET", "/api/deliveries")
        return list(reversed(found)) if len(found) >= count else None

    return wait_for(arrived, what=f"{count} deliveries")


def executions(system: System, count: int) -> list[dict[str, Any]]:
    """The executions, oldest first, once there are ``count`` of them and all have ended."""

    def ended() -> list[dict[str, Any]] | None:
        found = system.call("GET", "/api/task-executions")
        if len(found) < count:
            return None
        return [system.finished(int(one["id"])) for one in reversed(found)]

    return wait_for(ended, seconds=60, what=f"{count} executions")


def start(system: System, *triggers: str) -> str:
    """Start every process with one task on an opened issue and on ``triggers``; the hook's URL."""
    system.start("worker")
    system.start("scheduler")
    url = system.start_web()
    system.one_task()
    for trigger in triggers:
        told = {"canonical_trigger": trigger, "task_id": "triage"}
        system.call("POST", "/api/tasks/triggers", json=told)
    return f"{url}/webhook/github"


def test_an_app_answers_an_issue_and_not_its_own_comment(
    make_system: MakeSystem, make_emulate: MakeEmulate, make_aimock: MakeAiMock
) -> None:
    key, port = new_private_key(), free_port()
    with (
        make_aimock(MORE, LABELS, PARSER) as model,
        make_system(
            GITHUB_API_URL=f"http://127.0.0.1:{port}",
            GITHUB_TOKEN="",
            GITHUB_APP_ID=str(APP_ID),
            GITHUB_APP_PRIVATE_KEY=key,
            **model.environment,
        ) as system,
    ):
        hook = start(system, "issue.commented", "issue.updated")
        app = App(private_key=key, webhook_url=hook, webhook_secret=SECRET)
        with make_emulate(port=port, app=app) as github:
            number = github.open_issue("It breaks", BROKEN)
            [first] = executions(system, 1)
            told = deliveries(system, 3)
            answered = words(github, number)

            github.comment(number, "And the lexer?")
            [_, second] = executions(system, 2)
            all_told = deliveries(system, 5)

            assert (first["status"], first["answer"]) == ("succeeded", "It is the parser.")
            assert answered == [(BOT, "Bot", "It is the parser.")]
            assert [one["name"] for one in github.issue(number)["labels"]] == ["bug"]
            assert [(one["event_name"], one["action"], one["status"]) for one in told] == [
                ("issues", "opened", "routed"),
                ("issues", "labeled", "ignored"),
                ("issue_comment", "created", "ignored"),
            ]
            assert all(one["is_verified"] for one in all_told)
            for ours in (told[1], told[2]):
                assert ours["reason"].startswith("our own doing: ")
            assert second["status"] == "succeeded"
            assert words(github, number)[1:] == [
                (OWNER, "User", "And the lexer?"),
                (BOT, "Bot", "Nothing more to say."),
            ]
            assert all_told[3]["status"] == "routed"
            assert all_told[4]["reason"].startswith("our own doing: ")
            tokens = github.installation_tokens()
            assert [one["installation"]["id"] for one in tokens] == [INSTALLATION_ID]
        assert model.statuses() == [200, 200, 200]
        assert len(system.call("GET", "/api/task-executions")) == 2
        assert system.github.repositories == {}


def test_a_token_answers_and_the_account_behind_it_is_still_a_person(
    make_system: MakeSystem, make_emulate: MakeEmulate, make_aimock: MakeAiMock
) -> None:
    port = free_port()
    with (
        make_aimock(MORE, LABELS, PARSER) as model,
        make_system(
            GITHUB_API_URL=f"http://127.0.0.1:{port}", GITHUB_TOKEN=USER_TOKEN, **model.environment
        ) as system,
    ):
        address = start(system, "issue.commented")
        with make_emulate(port=port) as github:
            hook = github.hook(address, SECRET)
            number = github.open_issue("It breaks", BROKEN)
            [first] = executions(system, 1)
            told = deliveries(system, 3)
            answered = words(github, number)

            github.comment(number, "And the lexer?", token=USER_TOKEN)
            [_, second] = executions(system, 2)
            deliveries(system, 5)
            sent = github.hook_deliveries(hook)

            assert (first["status"], second["status"]) == ("succeeded", "succeeded")
            assert answered == [(USER, "User", "It is the parser.")]
            assert told[2]["reason"] == "our own doing: it carries our marker"
            assert words(github, number)[1:] == [
                (USER, "User", "And the lexer?"),
                (USER, "User", "Nothing more to say."),
            ]
            assert [one["status_code"] for one in sent] == [200] * 5
        assert len(system.call("GET", "/api/task-executions")) == 2
        assert model.statuses() == [200, 200, 200]


def test_delivery_ids_that_start_over_with_github_are_heard_again(
    make_system: MakeSystem, make_emulate: MakeEmulate, make_aimock: MakeAiMock
) -> None:
    port = free_port()
    with (
        make_aimock(says("Seen.", userMessage=BROKEN)) as model,
        make_system(
            GITHUB_API_URL=f"http://127.0.0.1:{port}", GITHUB_TOKEN=USER_TOKEN, **model.environment
        ) as system,
    ):
        address = start(system)
        answered, sent = [], []
        for count in (1, 2):
            with make_emulate(port=port) as github:
                hook = github.hook(address, SECRET)
                number = github.open_issue("It breaks", BROKEN)
                executions(system, count)
                deliveries(system, count * 2)
                answered.append((number, words(github, number)))
                sent.append([one["id"] for one in github.hook_deliveries(hook)])

        assert answered == [(1, [(USER, "User", "Seen.")])] * 2
        assert sent == [[1, 2]] * 2
        told = system.call("GET", "/api/deliveries")
        assert sorted(one["status"] for one in told) == ["ignored", "ignored", "routed", "routed"]


def test_what_happened_there_is_found_by_polling_and_answered_once(
    make_system: MakeSystem, make_emulate: MakeEmulate, make_aimock: MakeAiMock
) -> None:
    port = free_port()
    with (
        make_aimock(MORE, LABELS, PARSER) as model,
        make_system(
            GITHUB_API_URL=f"http://127.0.0.1:{port}", GITHUB_TOKEN=USER_TOKEN, **model.environment
        ) as system,
        make_emulate(port=port) as github,
    ):
        start(system, "issue.commented", "issue.updated", "issue.closed")
        number = github.open_issue("It breaks", BROKEN)
        sent = {"source": "github", "project_id": f"{OWNER}/api", "interval_minutes": 1}
        source = system.call("POST", "/api/poll-sources", json=sent)
        [first] = executions(system, 1)

        github.comment(number, "And the lexer?")
        _poll(system, source["id"])
        [_, second] = executions(system, 2)
        _poll(system, source["id"])
        github.call("PATCH", f"/repos/{OWNER}/api/issues/{number}", {"state": "closed"})
        _poll(system, source["id"])
        all_of_them = executions(system, 3)
        _poll(system, source["id"])

        assert (first["canonical_trigger"], first["answer"]) == (
            "issue.created",
            "It is the parser.",
        )
        assert (second["canonical_trigger"], second["answer"]) == (
            "issue.commented",
            "Nothing more to say.",
        )
        assert [one["canonical_trigger"] for one in all_of_them[2:]] == ["issue.closed"]
        assert len(system.call("GET", "/api/task-executions")) == 3
        told = system.call("GET", f"/api/poll-sources/{source['id']}")
        assert (told["failures"], told["error"]) == (0, None)


def _poll(system: System, source_id: int) -> None:
    """A poll by hand, to its end."""
    path = f"/api/poll-sources/{source_id}"

    def is_idle() -> bool:
        return bool(system.call("GET", path)["status"] == "idle")

    wait_for(is_idle, what="the poll before")
    system.call("POST", f"{path}/poll")
    wait_for(is_idle, what="the end of the poll")
