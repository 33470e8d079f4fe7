"""Reading and writing over the REST API, against a GitLab that refuses what GitLab refuses."""

from typing import Any

import pytest

from aether.errors import InvalidInputError, UpstreamError
from aether.events import Subject
from aether.sources.base import Comment, ItemChanges, NewItem, Posted
from aether.sources.gitlab import GitLab
from tests.sources.gitlab.conftest import PROJECT, TOKEN
from tests.sources.gitlab.stand_in import GitLabStandIn
from tests.sources.gitlab.state import Item

URL = "https://gitlab.example.com/gitlab/acme/backend/api.v2/-/issues/1"


@pytest.fixture
def issue(gitlab: GitLabStandIn) -> Item:
    return gitlab.add_issue(PROJECT, "It breaks", "On start.", labels=["bug"])


def subject(**changed: Any) -> Subject:
    told = {"kind": "issue", "project": PROJECT, "key": "1", "url": URL, **changed}
    return Subject(**told)


async def test_a_note_is_posted_below_a_path_of_the_host(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    posted = await GitLab().post_comment(client, subject(), "It is the parser.", timeout=5)

    [note] = issue.notes
    assert (note.body, note.author.username, note.internal) == (
        "It is the parser.", "aether-person", False,
    )  # fmt: skip
    assert posted == Posted(id=str(note.id), url=f"{URL}#note_{note.id}")
    assert gitlab.calls[-1].path == ("/gitlab/api/v4/projects/acme/backend/api.v2/issues/1/notes")
    assert gitlab.calls[-1].headers["private-token"] == TOKEN


async def test_a_note_on_a_merge_request_and_a_project_known_by_its_number(
    gitlab: GitLabStandIn, client: Any
) -> None:
    request = gitlab.add_merge_request(PROJECT, "Mend it")
    number = str(gitlab.project(PROJECT).id)

    await GitLab().post_comment(client, subject(kind="pr", project=number), "hi", timeout=5)

    assert [note.body for note in request.notes] == ["hi"]


async def test_what_answers_an_internal_note_is_internal(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    for visibility in ("internal", "confidential", None):
        told = subject(visibility=visibility)
        await GitLab().post_comment(client, told, f"to {visibility}", timeout=5)

    assert [note.internal for note in issue.notes] == [True, False, False]


async def test_a_bot_that_wrote_the_note_is_told(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.accept(TOKEN, "project_80000000_bot_0a1b2c", bot=True)

    posted = await GitLab().post_comment(client, subject(), "hi", timeout=5)

    assert posted.bot_account == "project_80000000_bot_0a1b2c"


async def test_a_note_is_edited_by_its_id(gitlab: GitLabStandIn, client: Any, issue: Item) -> None:
    note = gitlab.add_note(issue, "old", "aether-person")

    posted = await GitLab().edit_comment(client, subject(), str(note.id), "new", timeout=5)
    with pytest.raises(UpstreamError) as gone:
        await GitLab().edit_comment(client, subject(), "12345", "new", timeout=5)

    assert (posted.id, note.body) == (str(note.id), "new")
    assert gone.value.status == 404


@pytest.mark.parametrize("knows_filter", [True, False])
async def test_notes_are_listed_oldest_first_without_those_that_gitlab_writes(
    gitlab: GitLabStandIn, client: Any, issue: Item, knows_filter: bool
) -> None:
    gitlab.knows_activity_filter = knows_filter
    first = gitlab.add_note(issue, "first", "ann")
    gitlab.add_note(issue, "changed the description", "ann", system=True)
    gitlab.add_note(issue, "second", "group_9_bot_1f")

    comments = await GitLab().list_comments(client, subject())

    assert comments[0] == Comment(
        id=str(first.id),
        body="first",
        author="ann",
        url=f"{URL}#note_{first.id}",
        created_at=first.created_at.strftime("%Y-%m-%dT%H:%M:%S.123Z"),
    )
    assert [(one.body, one.is_bot) for one in comments[1:]] == [("second", True)]


async def test_all_pages_of_notes_are_read_and_no_more_than_needed_from_a_moment_on(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    made = [gitlab.add_note(issue, f"note {number}") for number in range(230)]
    since = made[120].created_at.strftime("%Y-%m-%dT%H:%M:%SZ")

    every = await GitLab().list_comments(client, subject())
    asked = len(gitlab.calls)
    newer = await GitLab().list_comments(client, subject(), since=since)

    assert [one.body for one in every] == [f"note {number}" for number in range(230)]
    assert [one.body for one in newer] == [f"note {number}" for number in range(120, 230)]
    assert (asked, len(gitlab.calls) - asked) == (3, 2)


async def test_an_issue_and_a_merge_request_are_read_as_they_are_now(
    gitlab: GitLabStandIn, client: Any
) -> None:
    ann = gitlab.add_user("ann")
    gitlab.add_issue(PROJECT, "Leak", "", issue_type="incident", confidential=True, assignees=[ann])
    gitlab.add_merge_request(PROJECT, "Draft: Mend it", "So.", state="merged")

    item = await GitLab().read_item(client, subject())
    request = await GitLab().read_item(client, subject(kind="pr"))

    assert item == {
        "title": "Leak",
        "body": "",
        "state": "open",
        "labels": [],
        "assignees": ["ann"],
        "author": "ann",
        "association": None,
        "url": URL,
        "type": "incident",
        "confidential": True,
    }
    assert {name: request[name] for name in ("state", "merged", "draft", "base", "head")} == {
        "state": "merged",
        "merged": True,
        "draft": True,
        "base": "main",
        "head": "changes",
    }


async def test_a_deployment_is_read(gitlab: GitLabStandIn, client: Any) -> None:
    one = gitlab.add_deployment(PROJECT, "success")

    item = await GitLab().read_item(client, subject(kind="deployment", key=str(one.id)))

    assert (item["title"], item["state"], item["author"]) == ("production", "success", "ann")


async def test_an_issue_is_changed_by_one_call(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    changes = ItemChanges(
        title="Parser breaks",
        body="Always.",
        state="closed",
        state_reason="completed",
        add_labels=["debt", "type::bug"],
        remove_labels=["bug"],
    )

    posted = await GitLab().update_item(client, subject(), changes, timeout=5)

    assert (issue.title, issue.description, issue.state) == ("Parser breaks", "Always.", "closed")
    assert issue.labels == ["debt", "type::bug"]
    assert posted == Posted(id="1", url=URL)
    assert [call.json for call in gitlab.calls] == [
        {
            "title": "Parser breaks",
            "description": "Always.",
            "state_event": "close",
            "add_labels": "debt,type::bug",
            "remove_labels": "bug",
        }
    ]


async def test_closed_twice_is_closed_and_reopened_is_open(client: Any, issue: Item) -> None:
    for _ in range(2):
        await GitLab().update_item(client, subject(), ItemChanges(state="closed"), timeout=5)
    closed = issue.state
    await GitLab().update_item(client, subject(), ItemChanges(state="open"), timeout=5)

    assert (closed, issue.state) == ("closed", "opened")


async def test_people_are_assigned_by_name_besides_those_who_are(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    issue.assignees = [gitlab.add_user("ann")]
    gitlab.add_user("bob")
    gitlab.project(PROJECT).members |= {"ann", "bob"}

    await GitLab().update_item(client, subject(), ItemChanges(add_assignees=["Bob"]), timeout=5)

    assert {one.username for one in issue.assignees} == {"ann", "bob"}


async def test_where_one_assignee_is_kept_it_is_the_one_that_was_asked_for(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.keeps_one_assignee = True
    issue.assignees = [gitlab.add_user("ann")]
    gitlab.add_user("bob")
    gitlab.project(PROJECT).members |= {"ann", "bob"}

    await GitLab().update_item(client, subject(), ItemChanges(add_assignees=["bob"]), timeout=5)
    changes = ItemChanges(add_assignees=["bob", "ann"])
    with pytest.raises(UpstreamError, match=r"did not assign ann: .* one assignee only") as two:
        await GitLab().update_item(client, subject(), changes, timeout=5)

    assert [one.username for one in issue.assignees] == ["bob"]
    assert not two.value.retryable


async def test_whoever_is_not_there_or_has_no_access_is_told(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.add_user("eve")

    changes = ItemChanges(title="t", add_assignees=["nobody"])
    with pytest.raises(InvalidInputError, match=r"^assignees: GitLab knows nobody .*'nobody'"):
        await GitLab().update_item(client, subject(), changes, timeout=5)
    with pytest.raises(UpstreamError, match=r"did not assign eve: no access to acme/backend"):
        await GitLab().update_item(client, subject(), ItemChanges(add_assignees=["eve"]), timeout=5)

    assert issue.title == "It breaks"


@pytest.mark.parametrize("label", ["", " ", "a,b"])
async def test_a_label_that_cannot_be_one_is_refused_before_anything_is_sent(
    gitlab: GitLabStandIn, client: Any, issue: Item, label: str
) -> None:
    changes = ItemChanges(title="t", remove_labels=["bug", label])
    with pytest.raises(InvalidInputError, match=r"^remove_labels: "):
        await GitLab().update_item(client, subject(), changes, timeout=5)

    assert gitlab.calls == []


async def test_no_changes_make_no_calls(gitlab: GitLabStandIn, client: Any) -> None:
    await GitLab().update_item(client, subject(), ItemChanges(), timeout=5)

    assert gitlab.calls == []


async def test_an_issue_is_created_as_confidential_as_it_should_be_and_found_by_its_marker(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.add_user("bob")
    gitlab.project(PROJECT).members.add("bob")
    new = NewItem(title="Split", body="So. <!-- m -->", labels=["debt"], assignees=["bob"],
                  is_confidential=True)  # fmt: skip
    since = issue.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")

    created = await GitLab().create_item(client, PROJECT, new, timeout=5)
    found = await GitLab().find_item(client, PROJECT, "<!-- m -->", since=since)
    missed = await GitLab().find_item(client, PROJECT, "<!-- n -->", since=since)

    made = gitlab.project(PROJECT).issues[2]
    assert (made.title, made.labels, made.confidential) == ("Split", ["debt"], True)
    assert [one.username for one in made.assignees] == ["bob"]
    assert created == found == Posted(id="2", url=URL.replace("/1", "/2"))
    assert missed is None


@pytest.mark.parametrize(
    "target",
    [
        subject(project="acme"),
        subject(project="acme/../secret"),
        subject(project="../api"),
        subject(project="acme/api?x"),
        subject(project="acme/api#x"),
        subject(project="acme/a%2Fpi"),
        subject(project="acme/api\n"),
        subject(project="-1"),
        subject(key="../8"),
        subject(key="7\n"),
        subject(key=""),
        subject(kind="deployment"),
    ],
)
async def test_nothing_is_sent_to_a_path_that_leads_elsewhere(
    gitlab: GitLabStandIn, client: Any, target: Subject
) -> None:
    with pytest.raises(InvalidInputError):
        await GitLab().post_comment(client, target, "hi", timeout=5)
    with pytest.raises(InvalidInputError):
        await GitLab().update_item(client, target, ItemChanges(title="t"), timeout=5)
    with pytest.raises(InvalidInputError):
        await GitLab().edit_comment(client, subject(), "1/../2", "x", timeout=5)

    assert gitlab.calls == []


async def test_what_belongs_to_a_group_says_that_it_cannot_be_reached(client: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^project: the item belongs to a group"):
        await GitLab().post_comment(client, subject(project=""), "hi", timeout=5)


@pytest.mark.parametrize(
    ("scopes", "text"),
    [
        (("read_api",), r"answered 403, insufficient_scope; The request requires higher .* "
                        r"\(the token needs the scope api"),
    ],
)  # fmt: skip
async def test_a_token_without_the_right_hears_which_it_needs(
    gitlab: GitLabStandIn, client: Any, issue: Item, scopes: tuple[str, ...], text: str
) -> None:
    gitlab.accept(TOKEN, "aether-person", scopes=scopes)

    read = await GitLab().read_item(client, subject())
    with pytest.raises(UpstreamError, match=text) as refused:
        await GitLab().post_comment(client, subject(), "hi", timeout=5)

    assert read["title"] == "It breaks"
    assert (refused.value.status, refused.value.retryable) == (403, False)
    assert issue.notes == []


async def test_a_project_that_is_hidden_is_told_as_perhaps_hidden(client: Any) -> None:
    with pytest.raises(UpstreamError, match=r"404 Project Not Found .*may not see\)") as refused:
        await GitLab().read_item(client, subject(project="acme/secret"))

    assert (refused.value.status, refused.value.retryable) == (404, False)


async def test_a_token_that_was_revoked_is_refused(gitlab: GitLabStandIn, client: Any) -> None:
    del gitlab.tokens[TOKEN]

    with pytest.raises(UpstreamError, match="answered 401, 401 Unauthorized") as refused:
        await GitLab().read_item(client, subject())

    assert (refused.value.status, TOKEN in str(refused.value)) == (401, False)


async def test_a_rate_limit_is_waited_for_and_told(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.limit_rate(TOKEN, remaining=0, resets_in=600)

    with pytest.raises(UpstreamError) as limited:
        await GitLab().post_comment(client, subject(), "hi", timeout=5)
    asked = len(gitlab.calls)
    with pytest.raises(UpstreamError, match="its rate limit"):
        await GitLab().read_item(client, subject())

    assert (limited.value.status, limited.value.may_have_happened) == (429, False)
    assert limited.value.retry_after == pytest.approx(600, abs=3)
    assert len(gitlab.calls) == asked == 1
    assert issue.notes == []


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"retry-after": "120"}, 119),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "99999999999"}, 7199),
    ],
)
async def test_both_ways_in_which_gitlab_tells_a_limit_are_understood(
    gitlab: GitLabStandIn, client: Any, issue: Item, headers: dict[str, str], least: int
) -> None:
    gitlab.faults.fail_next("POST", "notes", status=429, headers=headers, body="Retry later\n")

    with pytest.raises(UpstreamError) as limited:
        await GitLab().post_comment(client, subject(), "hi", timeout=5)

    assert limited.value.retryable
    assert (limited.value.retry_after or 0) >= least


async def test_a_failure_of_gitlab_itself_may_have_happened(
    gitlab: GitLabStandIn, client: Any, issue: Item
) -> None:
    gitlab.faults.fail_next("POST", "notes", status=502, body="<html>GitLab is not responding")

    with pytest.raises(UpstreamError) as failed:
        await GitLab().post_comment(client, subject(), "hi", timeout=5)

    assert (failed.value.retryable, failed.value.may_have_happened) == (True, True)


async def test_a_note_as_long_as_gitlab_takes_it_is_taken(client: Any, issue: Item) -> None:
    longest = GitLab.max_comment_characters

    await GitLab().post_comment(client, subject(), "x" * longest, timeout=15)
    with pytest.raises(UpstreamError, match="is too long"):
        await GitLab().post_comment(client, subject(), "x" * (longest + 1), timeout=15)

    assert [len(note.body) for note in issue.notes] == [longest]
