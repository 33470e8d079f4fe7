"""The built-in tools, by name: what a tool definition's row may stand for."""

from collections.abc import Mapping
from typing import Final

from aether.tools import comments, items, memory, reviews
from aether.tools.base import Tool

TOOLS: Final[Mapping[str, Tool]] = {
    "add_comment": comments.add_comment,
    "list_comments": comments.list_comments,
    "get_issue": items.get_issue,
    "update_issue": items.update_issue,
    "close_issue": items.close_issue,
    "add_labels": items.add_labels,
    "remove_labels": items.remove_labels,
    "assign_issue": items.assign_issue,
    "create_issue": items.create_issue,
    "submit_review": reviews.submit_review,
    "remember": memory.remember,
    "recall": memory.recall,
}
