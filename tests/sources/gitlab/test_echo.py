"""Updates that tell of our own writing, and those that hold anything else."""

from typing import Any

import pytest

from aether.sources.gitlab.echo import is_echo


def labels(*names: str) -> list[dict[str, Any]]:
    return [{"id": 1, "title": name} for name in names]


def people(*names: str) -> list[dict[str, Any]]:
    return [{"id": 1, "username": name} for name in names]


def change(previous: Any, current: Any) -> dict[str, Any]:
    return {"previous": previous, "current": current}


LABEL = change(labels("a"), labels("a", "b"))
TITLE = change("Old", "New")


@pytest.mark.parametrize(
    ("changes", "kind", "content"),
    [
        ({"labels": LABEL}, "label", {"names": ["b"]}),
        ({"labels": LABEL, "updated_at": change(1, 2)}, "label", {"names": ["b", "c"]}),
        ({"labels": change(labels("s::1"), labels("s::2"))}, "label", {"names": ["s::2"]}),
        ({"labels": change(labels("a", "b"), labels("a"))}, "unlabel", {"names": ["b"]}),
        ({"assignees": change([], people("bob"))}, "assign", {"names": ["Bob"]}),
        ({"assignees": change(people("ann"), people("bob")), "assignee_id": change(1, 2)},
         "assign", {"names": ["bob"]}),
        ({"title": TITLE}, "update", {"title": "New ", "body": None}),
        ({"description": TITLE, "title": TITLE, "last_edited_at": change(None, 1)},
         "update", {"title": "New", "body": "New"}),
    ],
)  # fmt: skip
def test_what_we_wrote_is_ours(changes: Any, kind: str, content: Any) -> None:
    assert is_echo(changes, kind, content)


@pytest.mark.parametrize(
    ("changes", "kind", "content"),
    [
        ({"labels": LABEL}, "label", {"names": ["c"]}),
        ({"labels": LABEL}, "unlabel", {"names": ["b"]}),
        ({"labels": LABEL, "title": TITLE}, "label", {"names": ["b"]}),
        ({"labels": change(labels("a"), labels("b"))}, "label", {"names": ["b"]}),
        ({"labels": change(labels("s::1", "x"), labels("s::2"))}, "label", {"names": ["s::2"]}),
        ({"assignees": change([], people("bob", "eve"))}, "assign", {"names": ["bob"]}),
        ({"assignees": change(people("bob"), [])}, "assign", {"names": ["bob"]}),
        ({"title": TITLE}, "update", {"title": None, "body": "New"}),
        ({"title": TITLE}, "close", {"reason": "completed"}),
        ({"updated_at": change(1, 2)}, "label", {"names": ["b"]}),
        ({}, "label", {"names": ["b"]}),
        (None, "label", {"names": ["b"]}),
        ({"labels": 7}, "label", {"names": ["b"]}),
    ],
)
def test_what_holds_anything_else_is_not(changes: Any, kind: str, content: Any) -> None:
    assert not is_echo(changes, kind, content)
