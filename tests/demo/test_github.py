"""The GitHub stand-in answers as GitHub does, over real HTTP."""

from datetime import timedelta

import httpx
import pytest

from aether import clock
from aether.demo.github import GitHubStandIn, PullFile
from tests.demo.conftest import BOT_TOKEN, MIA_TOKEN, REPO


def as_mia(client: httpx.Client, method: str, path: str, json: object = None) -> httpx.Response:
    return client.request(method, path, json=json, headers={"Authorization": f"token {MIA_TOKEN}"})


def next_link(response: httpx.Response) -> str | None:
    return response.links.get("next", {}).get("url")


def test_without_or_with_an_unknown_token_every_call_is_401(
    stand_in: GitHubStandIn, github_url: str
) -> None:
    path = f"{github_url}/repos/{REPO}/issues/482/comments"

    none = httpx.post(path, json={"body": "hi"})
    wrong = httpx.post(path, json={"body": "hi"}, headers={"Authorization": "Bearer ghp_wrong"})

    assert (none.status_code, none.json()["message"]) == (401, "Requires authentication")
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Bad credentials")
    assert wrong.json()["status"] == "401"
    assert stand_in.comments(REPO, 482) == []


def test_tokens_can_be_revoked_and_accepted_while_it_runs(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.revoke(BOT_TOKEN)
    revoked = github.get("/issues/482").status_code

    stand_in.accept(BOT_TOKEN, "aether[bot]", "Bot", writes=False)
    reads = github.get("/issues/482").status_code
    writes = github.post("/issues/482/comments", json={"body": "hi"})

    assert (revoked, reads, writes.status_code) == (401, 200, 403)
    assert writes.json()["message"] == "Resource not accessible by integration"
    assert stand_in.comments(REPO, 482) == []


def test_a_request_without_a_user_agent_is_forbidden_in_plain_text(github: httpx.Client) -> None:
    del github.headers["user-agent"]

    answer = github.get("/issues")

    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "User-Agent" in answer.text


def test_the_token_decides_who_the_user_is(github_url: str) -> None:
    mia = httpx.get(f"{github_url}/user", headers={"Authorization": f"Bearer {MIA_TOKEN}"})
    bot = httpx.get(f"{github_url}/user", headers={"Authorization": f"Bearer {BOT_TOKEN}"})

    assert (mia.status_code, mia.json()["login"], mia.json()["type"]) == (200, "mia-ops", "User")
    assert bot.status_code == 403  # an installation token is nobody's user


@pytest.mark.parametrize(
    "path",
    ["/issues/9", "/issues/9/comments", "/issues/comments/1", "/pulls/482", "/nothing", "/hooks"],
)
def test_what_is_not_there_is_404_in_githubs_form(github: httpx.Client, path: str) -> None:
    answer = github.get(path)

    assert answer.status_code == 404
    assert answer.json() == {
        "message": "Not Found",
        "documentation_url": "https://docs.github.com/rest",
        "status": "404",
    }


def test_a_repository_is_found_in_any_case(github: httpx.Client) -> None:
    url = str(github.base_url).rstrip("/")

    answer = github.get(url)
    shouted = github.get(url.replace("acme", "ACME"))

    assert (answer.status_code, answer.json()["full_name"]) == (200, REPO)
    assert answer.json()["owner"]["login"] == "acme"
    assert shouted.json() == answer.json()
    assert github.get(f"{url}/").status_code == 404


def test_an_issue_has_the_fields_that_github_shows(github: httpx.Client) -> None:
    issue = github.get("/issues/482").json()

    assert (issue["number"], issue["title"], issue["body"]) == (
        482,
        "Charged twice",
        "Two charges.",
    )
    assert (issue["state"], issue["user"]["login"], issue["comments"]) == ("open", "mia-ops", 0)
    assert [label["name"] for label in issue["labels"]] == ["bug"]
    assert issue["url"] == f"{github.base_url}issues/482"
    assert "pull_request" not in issue


def test_a_comment_is_written_read_changed_and_deleted(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    made = github.post("/issues/482/comments", json={"body": "Looking."})
    url = made.json()["url"]
    read = github.get(url).json()
    changed = github.patch(url, json={"body": "Found."})

    assert (made.status_code, made.headers["location"]) == (201, url)
    assert made.json()["user"]["login"] == "aether[bot]"
    assert made.json()["user"]["type"] == "Bot"
    assert made.json()["performed_via_github_app"]["slug"] == "aether"
    assert made.json()["id"] > 2**31
    assert made.json()["html_url"].endswith(f"/issues/482#issuecomment-{made.json()['id']}")
    assert read == made.json()
    assert (changed.status_code, changed.json()["body"]) == (200, "Found.")
    assert [comment.body for comment in stand_in.comments(REPO, 482)] == ["Found."]

    gone = github.delete(url)

    assert (gone.status_code, gone.content) == (204, b"")
    assert stand_in.comments(REPO, 482) == []
    assert github.get(url).status_code == 404


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({}, 422, "wasn't supplied"),
        ({"body": None}, 422, "null is not a string"),
        ({"body": ""}, 422, "Body cannot be blank"),
        ({"body": " \n"}, 422, "Body cannot be blank"),
        ({"body": "x" * 65_537}, 422, "Body is too long (maximum is 65536 characters)"),
        (["body"], 400, "Body should be a JSON object"),
    ],
)
def test_a_bad_comment_is_refused_and_not_kept(
    stand_in: GitHubStandIn, github: httpx.Client, sent: object, status: int, words: str
) -> None:
    answer = github.post("/issues/482/comments", json=sent)

    assert answer.status_code == status
    assert words in answer.text.replace('\\"', '"')
    assert stand_in.comments(REPO, 482) == []


def test_the_longest_comment_is_taken(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    answer = github.post("/issues/482/comments", json={"body": "ä" * 65_536})

    assert answer.status_code == 201
    assert len(stand_in.comments(REPO, 482)[0].body) == 65_536


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"body": "\\ud800"}'])
def test_unreadable_json_is_400(github: httpx.Client, body: bytes) -> None:
    answer = github.post("/issues/482/comments", content=body)

    assert (answer.status_code, answer.json()["message"]) == (400, "Problems parsing JSON")


def test_comments_come_oldest_first_in_pages_that_link_on(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    for number in range(5):
        stand_in.add_comment(REPO, 482, f"c{number}")

    first = github.get("/issues/482/comments", params={"per_page": 2})
    second = github.get(next_link(first) or "")
    third = github.get(next_link(second) or "")

    pages = [[comment["body"] for comment in page.json()] for page in (first, second, third)]
    assert pages == [["c0", "c1"], ["c2", "c3"], ["c4"]]
    assert set(first.links) == {"next", "last"}
    assert set(second.links) == {"prev", "first", "next", "last"}
    assert set(third.links) == {"prev", "first"}
    assert "link" not in github.get("/issues/482/comments").headers


def test_since_is_inclusive_and_goes_by_the_last_change(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    old, new = stand_in.add_comment(REPO, 482, "old"), stand_in.add_comment(REPO, 482, "new")
    old.updated_at -= timedelta(seconds=1)
    since = clock.to_wire(new.updated_at)

    of_issue = github.get("/issues/482/comments", params={"since": since}).json()
    of_repository = github.get("/issues/comments", params={"since": since}).json()

    assert [comment["body"] for comment in of_issue] == ["new"]
    assert of_repository == of_issue
    assert github.get("/issues", params={"since": "yesterday"}).status_code == 422


def test_issues_are_listed_by_state_and_order_with_pull_requests_among_them(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.add_issue(REPO, 483, "closed one").state = "closed"
    stand_in.add_pull(REPO, 484, "a pull request").updated_at += timedelta(seconds=60)

    def numbers(**query: str) -> list[int]:
        return [one["number"] for one in github.get("/issues", params=query).json()]

    assert numbers() == [484, 482]
    assert numbers(state="closed") == [483]
    assert numbers(state="all", sort="updated", direction="asc") == [482, 483, 484]
    assert numbers(labels="bug") == [482]
    assert "pull_request" in github.get("/issues").json()[0]
    assert github.get("/issues", params={"state": "merged"}).status_code == 422


def test_an_issue_is_created_with_the_next_number(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    sent = {
        "title": "Refund list",
        "body": "",
        "labels": ["BUG", "new"],
        "assignees": ["jo-dev", "x"],
    }

    made = github.post("/issues", json=sent)

    assert (made.status_code, made.json()["number"], made.json()["body"]) == (201, 483, None)
    assert stand_in.issue(REPO, 483).labels == ["bug", "new"]
    assert stand_in.issue(REPO, 483).assignees == ["jo-dev"]  # others are silently skipped


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"body": "b"}, "title"),
        ({"title": " "}, "title"),
        ({"title": "x" * 257}, "title"),
        ({"title": "t", "body": "x" * 65_537}, "body"),
        ({"title": "t", "labels": "bug"}, "labels"),
        ({"title": "t", "labels": ["x" * 51]}, "name"),
        ({"title": "t", "assignees": [1]}, "assignees"),
    ],
)
def test_a_bad_issue_is_refused_naming_the_field(
    stand_in: GitHubStandIn, github: httpx.Client, sent: object, field: str
) -> None:
    answer = github.post("/issues", json=sent)

    assert answer.status_code == 422
    assert field in answer.text
    assert list(stand_in.repositories[REPO].issues) == [482]


def test_an_issue_is_closed_reopened_and_edited(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    closed = github.patch("/issues/482", json={"state": "closed", "state_reason": "not_planned"})
    opened = github.patch("/issues/482", json={"state": "open", "title": "New", "labels": ["a"]})
    wrong = github.patch("/issues/482", json={"title": "Lost", "state": "done"})

    assert (closed.json()["state"], closed.json()["state_reason"]) == ("closed", "not_planned")
    assert closed.json()["closed_at"] is not None
    assert (opened.json()["state"], opened.json()["state_reason"]) == ("open", "reopened")
    assert (opened.json()["title"], opened.json()["closed_at"]) == ("New", None)
    assert stand_in.issue(REPO, 482).labels == ["a"]
    assert wrong.status_code == 422
    assert stand_in.issue(REPO, 482).title == "New"


def test_labels_are_added_once_and_removed(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    added = github.post("/issues/482/labels", json={"labels": ["Bug", "payments", "payments"]})
    removed = github.delete("/issues/482/labels/BUG")
    absent = github.delete("/issues/482/labels/nothing")

    assert [label["name"] for label in added.json()] == ["bug", "payments"]
    assert [label["name"] for label in removed.json()] == ["payments"]
    assert (absent.status_code, absent.json()["message"]) == (404, "Label does not exist")
    assert "nothing" not in stand_in.repositories[REPO].labels


def test_assignees_are_added_and_removed(stand_in: GitHubStandIn, github: httpx.Client) -> None:
    added = github.post("/issues/482/assignees", json={"assignees": ["jo-dev", "stranger"]})
    removed = github.request("DELETE", "/issues/482/assignees", json={"assignees": ["jo-dev"]})

    assert added.status_code == 201
    assert [one["login"] for one in added.json()["assignees"]] == ["jo-dev"]
    assert (removed.status_code, removed.json()["assignees"]) == (200, [])
    assert stand_in.issue(REPO, 482).assignees == []


def test_a_pull_request_can_be_read_and_reviewed(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    files = [PullFile(filename="pay.py", additions=3), PullFile(filename="test_pay.py")]
    stand_in.add_pull(REPO, 483, "Keep the key", "Closes #482.", "mia-ops", files=files)

    pull = github.get("/pulls/483").json()
    paged = github.get("/pulls/483/files", params={"per_page": 1})
    review = github.post("/pulls/483/reviews", json={"event": "APPROVE", "body": "Good."})
    own = as_mia(github, "POST", "/pulls/483/reviews", {"event": "APPROVE"})
    blank = github.post("/pulls/483/reviews", json={"event": "REQUEST_CHANGES"})

    assert (pull["merged"], pull["changed_files"], pull["additions"]) == (False, 2, 4)
    assert pull["head"]["repo"]["full_name"] == REPO
    assert [one["filename"] for one in paged.json()] == ["pay.py"]
    assert next_link(paged) is not None
    assert (review.status_code, review.json()["state"]) == (200, "APPROVED")
    assert own.status_code == blank.status_code == 422
    assert own.json()["errors"] == ["Can not approve your own pull request"]


def test_comments_on_a_pull_request_go_through_its_issue(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.add_pull(REPO, 483, "Keep the key")

    made = github.post("/issues/483/comments", json={"body": "Nice."})

    assert "/pull/483#issuecomment-" in made.json()["html_url"]


def test_a_locked_issue_and_an_archived_repository_take_no_comment(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    stand_in.issue(REPO, 482).locked = True
    locked = github.post("/issues/482/comments", json={"body": "hi"})
    stand_in.repositories[REPO].archived = True
    archived = github.post("/issues/482/comments", json={"body": "hi"})

    assert (locked.status_code, archived.status_code) == (403, 403)
    assert "locked" in locked.json()["message"]
    assert "archived" in archived.json()["message"]
    assert stand_in.comments(REPO, 482) == []


def test_rate_headers_count_down_and_an_empty_budget_is_403_until_the_reset(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    first, second = github.get("/issues"), github.get("/issues")
    stand_in.limit_rate(BOT_TOKEN, remaining=1, resets_in=60)
    last, refused = github.get("/issues"), github.get("/issues")
    stand_in.limit_rate(BOT_TOKEN, remaining=0, resets_in=0)
    after = github.get("/issues")

    assert first.headers["x-ratelimit-remaining"] == "4999"
    assert second.headers["x-ratelimit-used"] == "2"
    assert (last.status_code, last.headers["x-ratelimit-remaining"]) == (200, "0")
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (403, "0")
    assert "rate limit exceeded" in refused.json()["message"]
    assert "retry-after" not in refused.headers
    assert int(refused.headers["x-ratelimit-reset"]) > clock.now().timestamp()
    assert (after.status_code, after.headers["x-ratelimit-remaining"]) == (200, "4999")


def test_what_has_not_changed_is_304_and_free(github: httpx.Client) -> None:
    first = github.get("/issues/482/comments")
    etag = {"If-None-Match": first.headers["etag"]}
    unchanged = github.get("/issues/482/comments", headers=etag)
    github.post("/issues/482/comments", json={"body": "new"})
    changed = github.get("/issues/482/comments", headers=etag)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert changed.status_code == 200
    assert changed.headers["x-ratelimit-used"] == "3"


def test_an_unknown_version_of_the_api_is_400(github: httpx.Client) -> None:
    known = github.get("/issues", headers={"X-GitHub-Api-Version": "2022-11-28"})
    unknown = github.get("/issues", headers={"X-GitHub-Api-Version": "2021-01-01"})

    assert (known.status_code, unknown.status_code) == (200, 400)


def test_calls_are_recorded_without_the_token(
    stand_in: GitHubStandIn, github: httpx.Client
) -> None:
    github.post("/issues/482/comments?x=1", json={"body": "hi"})

    [call] = stand_in.calls
    assert (call.method, call.path) == ("POST", f"/repos/{REPO}/issues/482/comments")
    assert (call.query, call.json, call.status) == ({"x": "1"}, {"body": "hi"}, 201)
    assert call.token == BOT_TOKEN[-4:]
    assert BOT_TOKEN not in repr(call)


def test_a_mistake_in_the_arrangement_is_told_at_once(stand_in: GitHubStandIn) -> None:
    with pytest.raises(ValueError, match="owner/name"):
        stand_in.add_issue("acme", 1, "t")
    with pytest.raises(ValueError, match="482 already"):
        stand_in.add_issue(REPO, 482, "again")
