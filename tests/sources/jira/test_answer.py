"""Calls to Jira's REST API, against a strict site, once as Cloud and once as Server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.markers import marker_comment, markers_in
from aether.renewing import RenewingConnection
from aether.sources.base import ItemChanges, NewItem
from aether.sources.jira import Jira
from aether.sources.jira.site import speaks_v3
from tests.sources.jira.conftest import Connect, Serve
from tests.sources.jira.site import BO, HELPER, plain
from tests.sources.jira.site_state import DONE, IN_PROGRESS, REJECTED, RESOLUTION, TO_DO, Issue
from tests.sources.jira.stand_in import JiraStandIn

MARKER = marker_comment("m" * 32)
JIRA = Jira()


def subject(issue: Issue) -> Subject:
    return Subject(kind="issue", project="OPS", key=issue.key)


async def test_the_item_is_read_as_it_is_now(jira: JiraStandIn, client: RenewingConnection) -> None:
    issue = jira.open("Boom", body=None, labels=["a", "b"], assignee=BO, status=IN_PROGRESS)

    item = await JIRA.read_item(client, subject(issue))

    assert item == {
        "title": "Boom", "body": "", "state": "In Progress", "category": "indeterminate",
        "labels": ["a", "b"], "assignees": ["Bo Tester" if jira.is_cloud else "bo"],
        "author": "Ann Tester" if jira.is_cloud else "ann", "association": None,
        "url": f"{jira.url}/browse/OPS-7",
        "type": "Task", "priority": "Medium", "resolution": None,
    }  # fmt: skip


async def test_a_comment_is_posted_once_and_edited_by_its_id(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()

    posted = await JIRA.post_comment(client, subject(issue), "It is late.", timeout=5)
    edited = await JIRA.edit_comment(client, subject(issue), posted.id, "It is on.", timeout=5)

    [comment] = issue.comments
    assert (plain(comment.body), comment.author) == ("It is on.", HELPER)
    assert posted.id == edited.id == str(comment.id)
    assert posted.url == f"{jira.url}/browse/OPS-7?focusedCommentId={comment.id}"
    assert posted.bot_account is None
    assert jira.asked == [
        "POST /issue/OPS-7/comment",
        f"PUT /issue/OPS-7/comment/{comment.id}",
    ]


async def test_the_marker_is_found_by_listing_and_seen_by_nobody(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()
    await JIRA.post_comment(client, subject(issue), f"Late.\n\n{MARKER}", timeout=5)

    [comment] = await JIRA.list_comments(client, subject(issue))

    assert comment.body == f"Late.\n\n{MARKER}"
    assert plain(issue.comments[0].body) == "Late."
    assert "<!--" not in str(issue.comments[0].body)
    assert [call.path for call in jira.door.calls if "search" in call.path] == []


async def test_the_marker_comes_with_the_webhooks_too(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()
    jira.webhooks.clear()
    await JIRA.post_comment(client, subject(issue), f"Late.\n\n{MARKER}", timeout=5)

    told = [JIRA.extract(headers, body) for headers, body in jira.webhooks]

    assert len(told) == (1 if jira.is_cloud else 2)
    assert {one.text for one in told} == {f"Late.\n\n{MARKER}"}
    assert {one.comment_id for one in told} == {str(issue.comments[0].id)}


async def test_on_cloud_the_marker_outlives_its_text(serve: Serve, connect: Connect) -> None:
    jira = serve(JiraStandIn(is_cloud=True))
    client, issue = await connect(jira.environment()), jira.open()
    await JIRA.post_comment(client, subject(issue), f"Late.\n\n{MARKER}", timeout=5)
    text = {"type": "paragraph", "content": [{"type": "text", "text": "Rewritten."}]}
    issue.comments[0].body = {"type": "doc", "version": 1, "content": [text]}

    [comment] = await JIRA.list_comments(client, subject(issue))

    assert comment.body == f"Rewritten.\n\n{MARKER}"


async def test_a_quoted_marker_is_somebody_s_copy(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()
    await JIRA.post_comment(client, subject(issue), f"Late.\n\n{MARKER}", timeout=5)
    ours = issue.comments[0].body
    if jira.is_cloud:
        quote = {"type": "blockquote", "content": ours["content"]}
        copied: Any = {"type": "doc", "version": 1, "content": [quote]}
    else:
        copied = "{quote}\n" + ours + "\n{quote}\nIs it?"
    jira.say(issue, copied, BO)

    comments = await JIRA.list_comments(client, subject(issue))

    assert [markers_in(one.body) for one in comments] == [["m" * 32], []]


@pytest.mark.parametrize("sorts", [True, False])
async def test_all_comments_are_listed_oldest_first_over_the_pages(
    jira: JiraStandIn, client: RenewingConnection, sorts: bool
) -> None:
    issue = jira.open()
    jira.page, jira.pages_comments = 4, sorts
    started = datetime(2026, 3, 4, 8, 0, tzinfo=UTC)
    for number in range(10):
        jira.clock = lambda number=number: started + timedelta(minutes=number // 2)  # type: ignore[misc]
        jira.say(issue, text(jira, f"c{number}"))

    everything = await JIRA.list_comments(client, subject(issue))
    newest = await JIRA.list_comments(client, subject(issue), since="2026-03-04T08:04:00Z")

    assert [one.body for one in everything] == [f"c{number}" for number in range(10)]
    assert [one.body for one in newest] == ["c8", "c9"]
    assert {one.author for one in newest} == {"Ann Tester" if jira.is_cloud else "ann"}
    pages = [call for call in jira.asked if call.endswith("/comment")]
    assert len(pages) == (3 + 1 if sorts else 2)


def text(jira: JiraStandIn, words: str) -> Any:
    """A text as this site stores it."""
    if not jira.is_cloud:
        return words
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": words}]}
    return {"type": "doc", "version": 1, "content": [paragraph]}


async def test_a_text_beyond_the_limit_is_shortened_and_says_so(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()

    await JIRA.post_comment(client, subject(issue), "word " * 60_000 + f"\n\n{MARKER}", timeout=5)

    [comment] = await JIRA.list_comments(client, subject(issue))
    assert 20_000 < len(plain(issue.comments[0].body)) <= 32_767
    assert "more characters are kept in Aether's record of this run" in comment.body
    assert markers_in(comment.body) == ["m" * 32]


async def test_a_limit_that_an_administrator_lowered_is_met(
    jira: JiraStandIn, client: RenewingConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.sources.jira.site_rules.LONGEST", 1_000)
    issue = jira.open()

    await JIRA.post_comment(client, subject(issue), "word " * 700 + f"\n\n{MARKER}", timeout=5)

    assert 300 < len(plain(issue.comments[0].body)) <= 1_000
    assert len(issue.comments) == 1


async def test_title_text_and_labels_change_in_one_call(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open("Boom", labels=["old", "kept"])
    changes = ItemChanges(
        title=" Two\nlines ", body="It says hej.", add_labels=["new"], remove_labels=["old", "no"]
    )

    for _ in range(2):  # idempotent
        posted = await JIRA.update_item(client, subject(issue), changes, timeout=5)

    assert (issue.title, plain(issue.description)) == ("Two lines", "It says hej.")
    assert (issue.labels, posted.id) == (["kept", "new"], "OPS-7")
    assert jira.asked == ["PUT /issue/OPS-7"] * 2


async def test_a_label_with_a_space_is_refused_before_anything_is_changed(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    changes = ItemChanges(title="New", add_labels=["needs triage"])

    with pytest.raises(InvalidInputError) as caught:
        await JIRA.update_item(client, subject(jira.open()), changes, timeout=5)

    assert str(caught.value) == (
        "labels: 'needs triage': a label of Jira holds no spaces; write 'needs-triage'"
    )
    assert jira.asked == []


@pytest.mark.parametrize("wanted", ["Bo Tester", "bo tester"])
async def test_a_person_is_assigned_by_the_name_that_people_read(
    jira: JiraStandIn, client: RenewingConnection, wanted: str
) -> None:
    issue = jira.open()

    await JIRA.update_item(client, subject(issue), ItemChanges(add_assignees=[wanted]), timeout=5)

    assert issue.assignee == BO


async def test_a_person_is_assigned_by_the_site_s_own_name_in_one_call(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    issue = jira.open()
    changes = ItemChanges(add_assignees=[jira.identity(BO)])

    await JIRA.update_item(client, subject(issue), changes, timeout=5)

    assert issue.assignee == BO
    assert jira.asked == ["PUT /issue/OPS-7/assignee"]


@pytest.mark.parametrize(
    ("people", "problem"),
    [
        (["Cy"], "Jira did not assign: nobody whom this can be assigned to is called 'Cy'"),
        (["Tester"], "'Tester' may be 2 people: Ann Tester ("),
        (["ann", "bo"], "assignees: an issue of Jira has one assignee; name one person"),
    ],
)
async def test_nobody_is_assigned_by_a_name_that_means_none_or_several(
    jira: JiraStandIn, client: RenewingConnection, people: list[str], problem: str
) -> None:
    issue = jira.open()

    with pytest.raises((UpstreamError, InvalidInputError)) as caught:
        await JIRA.update_item(client, subject(issue), ItemChanges(add_assignees=people), timeout=5)

    assert problem in str(caught.value)
    assert issue.assignee is None


@pytest.mark.parametrize(
    ("reason", "status", "resolution"),
    [
        ("completed", DONE, "Done"),
        (None, DONE, "Done"),
        ("not_planned", REJECTED, None),
        ("duplicate", REJECTED, None),
    ],
)
async def test_an_issue_is_closed_by_the_transition_that_fits_the_reason(
    jira: JiraStandIn, client: RenewingConnection, reason: str, status: Any, resolution: Any
) -> None:
    issue = jira.open(status=IN_PROGRESS)
    changes = ItemChanges(state="closed", state_reason=reason)

    for _ in range(2):  # what is done is not done again
        await JIRA.update_item(client, subject(issue), changes, timeout=5)

    assert (issue.status, issue.resolution) == (status, resolution)
    assert [call for call in jira.asked if call.startswith("POST")] == [
        "POST /issue/OPS-7/transitions"
    ]


async def test_the_resolution_fits_the_reason_where_one_transition_asks_for_it(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    jira.workflow = jira.workflow[3:]

    for reason, expected in (("not_planned", "Won\u2019t Do"), ("duplicate", "Duplicate")):
        issue = jira.open()
        changes = ItemChanges(state="closed", state_reason=reason)
        await JIRA.update_item(client, subject(issue), changes, timeout=5)
        assert issue.resolution == expected


async def test_a_workflow_without_a_way_to_done_says_which_ways_there_are(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    jira.workflow = jira.workflow[:1]
    issue = jira.open()

    with pytest.raises(UpstreamError) as caught:
        await JIRA.update_item(client, subject(issue), ItemChanges(state="closed"), timeout=5)

    assert str(caught.value) == (
        "Jira's workflow has no transition from 'To Do' to a done one: there are 'Start' to "
        "'In Progress'"
    )
    assert not caught.value.retryable
    assert issue.status == TO_DO


async def test_a_field_that_only_a_person_can_fill_is_named(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    cause = {"customfield_10400": {"required": True, "name": "Root cause"}}
    jira.workflow[3].fields.update(cause)
    jira.workflow = jira.workflow[3:]
    issue = jira.open()

    try:
        with pytest.raises(UpstreamError) as caught:
            await JIRA.update_item(client, subject(issue), ItemChanges(state="closed"), timeout=5)
    finally:
        RESOLUTION.pop("customfield_10400", None)

    assert str(caught.value).startswith(
        "Jira's transition 'Finish' needs Root cause, which may have to be filled in by a person: "
    )
    assert "answered 400, customfield_10400: Root cause is required." in str(caught.value)
    assert issue.status == TO_DO


async def test_an_issue_is_reopened(jira: JiraStandIn, client: RenewingConnection) -> None:
    issue = jira.open(status=DONE)

    for _ in range(2):
        await JIRA.update_item(client, subject(issue), ItemChanges(state="open"), timeout=5)

    assert issue.status == TO_DO


async def test_an_issue_is_created_as_a_task_of_the_project(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    new = NewItem(title="New", body=f"It says hej.\n\n{MARKER}", labels=["a"])

    posted = await JIRA.create_item(client, "OPS", new, timeout=5)

    [issue] = jira.issues.values()
    assert (issue.title, plain(issue.description), issue.labels) == ("New", "It says hej.", ["a"])
    assert posted.id == issue.key == "OPS-7"
    assert posted.url == f"{jira.url}/browse/OPS-7"


async def test_a_project_without_tasks_gets_its_first_own_type(
    jira: JiraStandIn, client: RenewingConnection
) -> None:
    jira.types[1] = {"id": "10003", "name": "Aufgabe", "subtask": False, "hierarchyLevel": 0}

    await JIRA.create_item(client, "OPS", NewItem(title="New"), timeout=5)

    assert jira.door.calls[-1].json["fields"]["issuetype"] == {"id": "10003"}


@pytest.mark.parametrize("lag", [timedelta(0), timedelta(hours=1)])
async def test_a_created_issue_is_found_by_its_marker_though_the_index_is_late(
    jira: JiraStandIn, client: RenewingConnection, lag: timedelta
) -> None:
    for _ in range(3):
        jira.open()
    jira.lag = lag
    jira.open("Somebody else's")
    created = await JIRA.create_item(
        client, "OPS", NewItem(title="New", body=f"hej\n\n{MARKER}"), timeout=5
    )
    jira.open("Another")

    found = await JIRA.find_item(client, "OPS", MARKER, since="2026-01-01T00:00:00Z")
    missing = await JIRA.find_item(
        client, "OPS", marker_comment("n" * 32), since="2026-01-01T00:00:00Z"
    )

    assert found == created
    assert missing is None


@pytest.mark.parametrize("key", ["../admin", "OPS", "OPS-7/comment", "7a", "", "OPS-\uff17"])
async def test_nothing_that_is_no_key_is_asked_for(
    jira: JiraStandIn, client: RenewingConnection, key: str
) -> None:
    odd = Subject(kind="issue", project="OPS", key=key)

    with pytest.raises(InvalidInputError):
        await JIRA.post_comment(client, odd, "hi", timeout=5)
    with pytest.raises(InvalidInputError):
        await JIRA.create_item(client, f"{key}/", NewItem(title="x"), timeout=5)

    assert jira.asked == []


REFUSALS: list[tuple[int, Any, dict[str, str], str, bool]] = [
    (400, {"errorMessages": ["No."], "errors": {"summary": "Too odd."}}, {},
     "answered 400, No.; summary: Too odd.", False),
    (401, "Client must be authenticated", {}, "answered 401", False),
    (403, {"errorMessages": ["No right."]}, {}, "answered 403, No right.", False),
    (403, "", {"X-Seraph-LoginReason": "AUTHENTICATION_DENIED"}, "CAPTCHA", False),
    (403, "", {"X-Authentication-Denied-Reason": "CAPTCHA_CHALLENGE; login-url=http://x/"},
     "CAPTCHA", False),
    (404, {"errorMessages": ["Issue does not exist."]}, {}, "answered 404, Issue does", False),
    (429, {"message": "Rate limit"}, {"Retry-After": "3600"}, "answered 429", True),
    (500, {"message": "Down"}, {}, "answered 500, Down", True),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "headers", "words", "may_pass"), REFUSALS)
async def test_a_refusal_is_told_in_jira_s_own_words(
    jira: JiraStandIn, client: RenewingConnection,
    status: int, body: Any, headers: dict[str, str], words: str, may_pass: bool,
) -> None:  # fmt: skip
    issue = jira.open()
    jira.faults.fail_next("POST", "comment", status=status, body=body, headers=headers, times=2)

    with pytest.raises(UpstreamError) as caught:
        await JIRA.post_comment(client, subject(issue), "hi", timeout=5)

    assert words in str(caught.value)
    assert (caught.value.status, caught.value.retryable) == (status, may_pass)
    assert issue.comments == []


@pytest.mark.parametrize(
    ("url", "is_cloud", "expected"),
    [
        ("https://octo.atlassian.net", None, True),
        ("https://api.atlassian.com/ex/jira/1", None, True),
        ("https://atlassian.net.example.com", None, False),
        ("https://jira.example.com/jira", None, False),
        ("https://jira.example.com", "true", True),
        ("https://octo.atlassian.net", "false", False),
    ],
)
async def test_the_address_tells_cloud_from_server_unless_the_setting_does(
    connect: Connect, url: str, is_cloud: str | None, expected: bool
) -> None:
    told = {"JIRA_URL": url, "JIRA_API_TOKEN": "t"}
    client = await connect(told | ({"JIRA_IS_CLOUD": is_cloud} if is_cloud else {}))

    assert speaks_v3(client) is expected
