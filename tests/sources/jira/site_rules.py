"""What Jira refuses, in its own words; and the part of its query language that a poll needs."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.sources.jira.site_state import Issue

LONGEST: Final = 32_767
BLOCKS: Final = frozenset({
    "paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "rule",
    "table", "mediaSingle", "panel", "expand", "taskList",
})  # fmt: skip
ROLES: Final = frozenset({"Developers", "Administrators"})
MARKS: Final = frozenset({
    "strong", "em", "code", "link", "strike", "underline", "subsup", "textColor",
})  # fmt: skip

_CLAUSE: Final = re.compile(
    r'(?P<field>project|updated|created)\s*(?P<sign>=|>=)\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>\w+))',
    re.IGNORECASE,
)


class RefusedError(Exception):
    def __init__(self, status: int, *messages: str, **errors: str) -> None:
        super().__init__(*messages)
        self.status = status
        self.body = {"errorMessages": list(messages), "errors": errors}


def check_text(value: Any, *, is_cloud: bool, field: str) -> None:
    """REST v3 takes documents only, v2 text only."""
    if value is None and field != "comment":
        return
    if not is_cloud:
        if not isinstance(value, str):
            raise RefusedError(400, **{field: "Operation value must be a string"})
        size = len(value)
    else:
        if not isinstance(value, dict):
            raise RefusedError(400, **{field: "Operation value must be an Atlassian Document"})
        size = _check_document(value)
    if not size and field == "comment":
        raise RefusedError(400, comment="Comment body can not be empty!")
    if size > LONGEST:
        problem = "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
        raise RefusedError(400, **{field: problem})


def check_comment(told: Mapping[str, Any], *, is_cloud: bool) -> None:
    """A comment's text, whom it is for, and its properties."""
    if unknown := set(told) - {"body", "visibility", "properties"}:
        raise RefusedError(400, f"Unrecognized field {min(unknown)}")
    check_text(told.get("body"), is_cloud=is_cloud, field="comment")
    shown = told.get("visibility")
    if shown is not None:
        if shown.get("type") not in {"role", "group"} or not ({"value", "identifier"} & set(shown)):
            raise RefusedError(400, commentLevel="Invalid visibility")
        if shown["type"] == "role" and shown.get("value") not in ROLES:
            raise RefusedError(400, commentLevel="You are currently not a member of the role.")
    for one in told.get("properties", []):
        if set(one) != {"key", "value"}:
            raise RefusedError(400, "INVALID_INPUT")


def _check_document(value: Mapping[str, Any]) -> int:
    blocks = value.get("content")
    if value.get("type") != "doc" or value.get("version") != 1 or not isinstance(blocks, list):
        raise RefusedError(400, "INVALID_INPUT")
    if not all(isinstance(one, dict) and one.get("type") in BLOCKS for one in blocks):
        raise RefusedError(400, "INVALID_INPUT")
    return sum(_check_node(one) for one in blocks)


def _check_node(node: Mapping[str, Any]) -> int:
    unknown = set(node) - {"type", "content", "text", "marks", "attrs"}
    if unknown or not isinstance(node.get("type"), str):
        raise RefusedError(400, "INVALID_INPUT")
    marks = [mark.get("type") for mark in node.get("marks", [])]
    if not set(marks) <= MARKS or len(set(marks)) != len(marks):
        raise RefusedError(400, "INVALID_INPUT")
    if node["type"] == "text":
        if not isinstance(node.get("text"), str) or not node["text"] or "content" in node:
            raise RefusedError(400, "INVALID_INPUT")
        return len(node["text"])
    return sum(_check_node(one) for one in node.get("content", []))


def check_labels(labels: Sequence[Any]) -> None:
    for one in labels:
        if not isinstance(one, str) or re.search(r"\s", one) or not one:
            raise RefusedError(400, labels=f"The label '{one}' contains spaces which is invalid.")


def found(jql: str, issues: Sequence[Issue], zone: str) -> list[Issue]:
    """The issues that a query means; quoted times are read in the account's zone."""
    where, _, order = jql.partition("ORDER BY")
    chosen = list(issues)
    left = where
    for clause in _CLAUSE.finditer(where):
        left = left.replace(clause[0], "", 1)
        value = clause["quoted"] if clause["quoted"] is not None else clause["bare"]
        chosen = [one for one in chosen if _meets(one, clause["field"].lower(), value, zone)]
    if re.sub(r"\band\b|\s", "", left, flags=re.IGNORECASE):
        raise RefusedError(400, f"Error in the JQL Query: {left.strip()!r}")
    for part in reversed([one.split() for one in order.split(",") if one.strip()]):
        name, way = part[0].lower(), (part[1:] or ["ASC"])[0].upper()
        chosen.sort(key=lambda one, name=name: _place(one, name), reverse=way == "DESC")  # type: ignore[misc]
    return chosen


def _meets(issue: Issue, field: str, value: str, zone: str) -> bool:
    if field == "project":
        return value.upper() in {issue.project, "10077"}
    try:
        moment = datetime.strptime(value, "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(zone))
    except ValueError:
        raise RefusedError(400, f"Date value '{value}' for field '{field}' is invalid.") from None
    stood: datetime = getattr(issue, field)
    return stood.replace(second=0, microsecond=0) >= moment  # minute resolution


def _place(issue: Issue, name: str) -> Any:
    if name == "key":
        return issue.number
    moment: datetime = getattr(issue, name)
    return moment.replace(second=0, microsecond=0)
