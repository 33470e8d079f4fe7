"""What GitHub refuses, in its own words: validation, permissions, authentication.

Shapes of errors: https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from aether.demo.github_state import AccountType

DOCS: Final = "https://docs.github.com/rest"
MAX_BODY_CHARACTERS: Final = 65_536
MAX_TITLE_CHARACTERS: Final = 256
MAX_LABEL_CHARACTERS: Final = 50
MAX_ASSIGNEES: Final = 10
NO_USER_AGENT: Final = (
    "\r\nRequest forbidden by administrative rules. Please make sure your request has a "
    f"User-Agent header ({DOCS}/overview/resources-in-the-rest-api#user-agent-required).\r\n"
)

Resource = Literal["Issue", "IssueComment", "Label", "PullRequest", "PullRequestReview"]


class RefusedError(Exception):
    """The answer that GitHub gives instead of doing what was asked."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "message": message,
            **more,
            "documentation_url": DOCS,
            "status": str(status),
        }


def not_found() -> RefusedError:
    return RefusedError(404, "Not Found")


def bad_credentials(has_token: bool) -> RefusedError:
    return RefusedError(401, "Bad credentials" if has_token else "Requires authentication")


def read_only(kind: AccountType) -> RefusedError:
    holder = "integration" if kind == "Bot" else "personal access token"
    return RefusedError(403, f"Resource not accessible by {holder}")


def rate_limited(user_id: int) -> RefusedError:
    return RefusedError(403, f"API rate limit exceeded for user ID {user_id}.")


def invalid(resource: Resource, field: str, code: str, message: str | None = None) -> RefusedError:
    """422 with one entry in ``errors``."""
    error = {"resource": resource, "code": code, "field": field}
    if message is not None:
        error["message"] = message
    return RefusedError(422, "Validation Failed", errors=[error])


def missing(field: str) -> RefusedError:
    return RefusedError(422, f'Invalid request.\n\n"{field}" wasn\'t supplied.')


def wrong_type(field: str, value: Any, wanted: str) -> RefusedError:
    shown = "null" if value is None else repr(value)
    return RefusedError(
        422, f"Invalid request.\n\nFor 'properties/{field}', {shown} is not a {wanted}."
    )


def check_comment(told: Mapping[str, Any]) -> str:
    """The body of a comment to write: present, a string, not blank, not too long."""
    if "body" not in told:
        raise missing("body")
    body = told["body"]
    if not isinstance(body, str):
        raise wrong_type("body", body, "string")
    if not body.strip():
        raise invalid("IssueComment", "data", "unprocessable", "Body cannot be blank")
    if len(body) > MAX_BODY_CHARACTERS:
        text = f"Body is too long (maximum is {MAX_BODY_CHARACTERS} characters)"
        raise invalid("IssueComment", "data", "unprocessable", text)
    return body


def check_title(title: Any) -> str:
    """An issue's title; GitHub takes numbers, too, and keeps them as text."""
    if not isinstance(title, (str, int)) or isinstance(title, bool):
        raise wrong_type("title", title, "string")
    text = str(title).strip()
    if not text:
        raise invalid("Issue", "title", "missing_field")
    if len(text) > MAX_TITLE_CHARACTERS:
        words = f"title is too long (maximum is {MAX_TITLE_CHARACTERS} characters)"
        raise invalid("Issue", "title", "custom", words)
    return text


def check_issue_body(body: Any) -> str | None:
    """An issue's body; nothing and an empty string are both kept as null."""
    if body is None or body == "":
        return None
    if not isinstance(body, str):
        raise wrong_type("body", body, "string")
    if len(body) > MAX_BODY_CHARACTERS:
        words = f"body is too long (maximum is {MAX_BODY_CHARACTERS} characters)"
        raise invalid("Issue", "body", "custom", words)
    return body


def check_labels(told: Any) -> list[str]:
    """Names of labels, given as strings or as objects with a name."""
    if not isinstance(told, Sequence) or isinstance(told, str):
        raise wrong_type("labels", told, "array")
    names: list[str] = []
    for one in told:
        name = one.get("name") if isinstance(one, Mapping) else one
        if not isinstance(name, str):
            raise wrong_type("labels", one, "string")
        if not name.strip():
            raise invalid("Label", "name", "missing_field")
        if len(name) > MAX_LABEL_CHARACTERS:
            words = f"name is too long (maximum is {MAX_LABEL_CHARACTERS} characters)"
            raise invalid("Label", "name", "custom", words)
        names.append(name)
    return names


def check_assignees(told: Any) -> list[str]:
    """Logins to assign, at most ten."""
    if not isinstance(told, Sequence) or isinstance(told, str):
        raise wrong_type("assignees", told, "array")
    if not all(isinstance(login, str) for login in told):
        raise wrong_type("assignees", told, "array of strings")
    if len(told) > MAX_ASSIGNEES:
        raise invalid("Issue", "assignees", "custom", f"at most {MAX_ASSIGNEES} assignees")
    return list(told)


def check_choice(resource: Resource, field: str, value: Any, choices: Sequence[Any]) -> Any:
    if value not in choices:
        raise invalid(resource, field, "invalid")
    return value


def check_since(text: str | None) -> datetime | None:
    """``since`` of a list: ISO 8601, UTC where it names no zone."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("Issue", "since", "invalid") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
