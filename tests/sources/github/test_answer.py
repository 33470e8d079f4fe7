"""Calls to GitHub's REST API: which, with what, and what is made of the answer."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, Fetched, ItemChanges, NewItem, Posted
from aether.sources.github import GitHub

URL: Final = "https://github.example.com/acme/api/issues/7"


class Client:
    """Records each call and gives the answer set for it, or raises it."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.timeouts: list[float | None] = []
        self.answers = answers

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        timeout: float | None = None,
    ) -> Any:
        self.calls.append((method, path, query if json is None else json))
        self.timeouts.append(timeout)
        answer = self.answers.get(path.rpartition("/")[2], self.answers.get("other", {}))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pages(self, path: str, query: Mapping[str, str], *, max_pages: int = 20) -> list[Any]:
        self.calls.append(("GET", path, dict(query)))
        found: list[Any] = self.answers["pages"]
        return found

    async def fetch(
        self, path: str, query: Mapping[str, str], *, etag: str | None = None
    ) -> Fetched:
        raise NotImplementedError("answers are not polled")


def subject(
    kind: Literal["issue", "pr", "deployment"] = "issue", key: str = "7", project: str = "acme/api"
) -> Subject:
    return Subject(kind=kind, project=project, key=key, url=URL)


async def test_a_comment_is_posted_on_issues_and_pull_requests_alike() -> None:
    client = Client(comments={"id": 501, "html_url": f"{URL}#c501"})

    on_issue = await GitHub().post_comment(client, subject(), "hi", timeout=5)
    on_pull = await GitHub().post_comment(client, subject("pr"), "hi", timeout=5)

    assert on_issue == on_pull == Posted(id="501", url=f"{URL}#c501")
    assert client.calls == [("POST", "/repos/acme/api/issues/7/comments", {"body": "hi"})] * 2
    assert client.timeouts == [5, 5]


async def test_a_bot_that_wrote_the_comment_is_told() -> None:
    def by(account_type: str) -> Client:
        return Client(comments={"id": 501, "user": {"login": "aether[bot]", "type": account_type}})

    by_bot = await GitHub().post_comment(by("Bot"), subject(), "hi", timeout=5)
    by_user = await GitHub().post_comment(by("User"), subject(), "hi", timeout=5)

    assert (by_bot.bot_account, by_user.bot_account) == ("aether[bot]", None)


async def test_a_comment_is_edited_by_its_id() -> None:
    client = Client(other={"id": 501, "html_url": "u"})

    posted = await GitHub().edit_comment(client, subject(), "501", "new", timeout=5)

    assert posted == Posted(id="501", url="u")
    assert client.calls == [("PATCH", "/repos/acme/api/issues/comments/501", {"body": "new"})]


@pytest.mark.parametrize("answer", [None, [], {}, {"id": None}, "text"])
async def test_an_answer_without_an_id_may_have_happened(answer: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        await GitHub().post_comment(Client(comments=answer), subject(), "hi", timeout=5)

    assert caught.value.may_have_happened


@pytest.mark.parametrize(
    "target",
    [
        subject(project="acme"),
        subject(project="acme/api/../secret"),
        subject(project="../api"),
        subject(project="./api"),
        subject(project="acme/.."),
        subject(project="acme/api?x"),
        subject(project="acme/api\n"),
        subject(key="../8"),
        subject(key="7\n"),
        subject(key=""),
        subject("deployment"),
    ],
)
async def test_nothing_is_sent_to_a_path_that_leads_elsewhere(target: Subject) -> None:
    client = Client()

    with pytest.raises(InvalidInputError):
        await GitHub().post_comment(client, target, "hi", timeout=5)
    with pytest.raises(InvalidInputError):
        await GitHub().update_item(client, target, ItemChanges(title="t"), timeout=5)

    assert client.calls == []


async def test_a_comment_id_that_is_not_a_number_is_refused() -> None:
    client = Client()

    with pytest.raises(InvalidInputError, match=r"^id: '1/../2' is not a number$"):
        await GitHub().edit_comment(client, subject(), "1/../2", "x", timeout=5)

    assert client.calls == []


async def test_comments_are_listed_from_a_moment_on() -> None:
    told = {
        "id": 9,
        "body": "b",
        "user": {"login": "ci[bot]", "type": "Bot"},
        "html_url": "u",
        "created_at": "2026-02-18T10:00:00Z",
        "author_association": "NONE",
    }
    client = Client(pages=[told, {"id": 10, "body": None, "user": None}, "odd", {}])

    comments = await GitHub().list_comments(client, subject(), since="2026-02-18T09:50:00Z")

    assert comments == [
        Comment(
            id="9",
            body="b",
            author="ci[bot]",
            url="u",
            created_at="2026-02-18T10:00:00Z",
            is_bot=True,
            association="NONE",
        ),
        Comment(id="10", body="", author="", url="", created_at=""),
    ]
    query = {"per_page": "100", "since": "2026-02-18T09:50:00Z"}
    assert client.calls == [("GET", "/repos/acme/api/issues/7/comments", query)]


async def test_an_issue_is_read_as_it_is_now() -> None:
    client = Client(
        other={
            "title": "T",
            "body": None,
            "state": "closed",
            "labels": [{"name": "bug"}],
            "assignees": [{"login": "ann"}],
            "user": None,
            "html_url": URL,
        }
    )

    item = await GitHub().read_item(client, subject())

    assert item == {
        "title": "T",
        "body": "",
        "state": "closed",
        "association": None,
        "labels": ["bug"],
        "assignees": ["ann"],
        "author": None,
        "url": URL,
    }
    assert client.calls == [("GET", "/repos/acme/api/issues/7", None)]


async def test_a_pull_request_tells_its_branches_and_whether_it_is_merged() -> None:
    client = Client(other={"merged": True, "base": {"ref": "main"}, "head": {"ref": "fix"}})

    item = await GitHub().read_item(client, subject("pr"))

    assert client.calls == [("GET", "/repos/acme/api/pulls/7", None)]
    assert {name: item[name] for name in ("merged", "draft", "base", "head")} == {
        "merged": True,
        "draft": False,
        "base": "main",
        "head": "fix",
    }


async def test_a_deployment_has_the_state_of_its_newest_status() -> None:
    client = Client(
        statuses=[{"state": "success", "log_url": "u"}], other={"environment": "production"}
    )

    item = await GitHub().read_item(client, subject("deployment", "5"))

    assert (item["title"], item["state"], item["url"]) == ("production", "success", "u")
    assert [path for _, path, _ in client.calls] == [
        "/repos/acme/api/deployments/5",
        "/repos/acme/api/deployments/5/statuses",
    ]


async def test_an_issue_is_changed_by_one_call_a_kind() -> None:
    client = Client(assignees={"assignees": [{"login": "Ann"}]})
    changes = ItemChanges(
        state="closed",
        state_reason="not_planned",
        add_labels=["bug"],
        remove_labels=["needs info/triage"],
        add_assignees=["ann"],
    )

    posted = await GitHub().update_item(client, subject(), changes, timeout=5)

    assert posted == Posted(id="7", url=URL)
    path = "/repos/acme/api/issues/7"
    assert client.calls == [
        ("PATCH", path, {"state": "closed", "state_reason": "not_planned"}),
        ("POST", f"{path}/labels", {"labels": ["bug"]}),
        ("DELETE", f"{path}/labels/needs%20info%2Ftriage", None),
        ("POST", f"{path}/assignees", {"assignees": ["ann"]}),
    ]
    assert all(left is not None and 0 < left <= 5 for left in client.timeouts)


async def test_a_pull_request_has_its_own_path_but_not_for_labels() -> None:
    client = Client()
    changes = ItemChanges(title="t", state_reason="completed", add_labels=["bug"])

    await GitHub().update_item(client, subject("pr"), changes, timeout=5)

    assert client.calls == [
        ("PATCH", "/repos/acme/api/pulls/7", {"title": "t"}),
        ("POST", "/repos/acme/api/issues/7/labels", {"labels": ["bug"]}),
    ]


async def test_no_changes_make_no_calls() -> None:
    client = Client()

    await GitHub().update_item(client, subject(), ItemChanges(), timeout=5)

    assert client.calls == []


async def test_a_label_that_is_already_gone_is_no_failure() -> None:
    gone = Client(bug=UpstreamError("not found", status=404))
    forbidden = Client(bug=UpstreamError("no", status=403))
    changes = ItemChanges(remove_labels=["bug"])

    await GitHub().update_item(gone, subject(), changes, timeout=5)
    with pytest.raises(UpstreamError, match="no"):
        await GitHub().update_item(forbidden, subject(), changes, timeout=5)

    assert len(gone.calls) == 1


@pytest.mark.parametrize("label", ["", " ", ".", ".."])
async def test_a_blank_label_never_becomes_the_call_that_removes_all(label: str) -> None:
    client = Client()
    changes = ItemChanges(title="t", remove_labels=["bug", label])

    with pytest.raises(InvalidInputError, match=r"^remove_labels: "):
        await GitHub().update_item(client, subject(), changes, timeout=5)

    assert client.calls == []


async def test_people_that_github_skips_are_told() -> None:
    client = Client(assignees={"assignees": [{"login": "ann"}]})
    changes = ItemChanges(add_assignees=["ann", "bob"])

    with pytest.raises(UpstreamError, match=r"did not assign bob: no access to acme/api") as caught:
        await GitHub().update_item(client, subject(), changes, timeout=5)

    assert not caught.value.retryable


async def test_all_calls_of_a_change_share_one_time_limit() -> None:
    class Slow(Client):
        async def request(self, method: str, path: str, **more: Any) -> Any:
            await asyncio.sleep(0.02)
            return await super().request(method, path, **more)

    client = Slow()
    changes = ItemChanges(title="t", add_labels=["a"], remove_labels=["b"])

    with pytest.raises(UpstreamError, match="no time left"):
        await GitHub().update_item(client, subject(), changes, timeout=0.01)

    assert len(client.calls) == 1


async def test_an_issue_is_created_and_found_again_by_its_marker() -> None:
    client = Client(
        issues={"id": 99, "number": 12, "html_url": "u12"},
        pages=[
            {"number": 14, "body": None},
            {"number": 13, "body": "x <!-- m --> y", "pull_request": {}},
            {"number": 12, "body": "x <!-- m --> y", "html_url": "u12"},
        ],
    )

    new = NewItem(title="T", body="B", labels=["bug"], assignees=["ann"])
    created = await GitHub().create_item(client, "acme/api", new, timeout=5)
    found = await GitHub().find_item(client, "acme/api", "<!-- m -->", since="2026-02-18T10:00:00Z")
    missed = await GitHub().find_item(
        client, "acme/api", "<!-- n -->", since="2026-02-18T10:00:00Z"
    )

    assert created == found == Posted(id="12", url="u12")
    assert missed is None
    assert client.calls[0] == (
        "POST",
        "/repos/acme/api/issues",
        {"title": "T", "body": "B", "labels": ["bug"], "assignees": ["ann"]},
    )
    assert client.calls[1][2]["since"] == "2026-02-18T10:00:00Z"
