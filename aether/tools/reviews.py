"""The tool that gives a verdict on a pull or merge request."""

from collections.abc import Mapping
from typing import Any

from aether.rendering import is_blank
from aether.sources.base import LineComment, NewReview, ReviewingSource
from aether.tools.base import RefusedError, ToolContext, told


async def submit_review(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Review the pull or merge request at hand: comment, approve or request changes."""
    effects, subject = context.target({})
    source = context.source
    if not isinstance(source, ReviewingSource):
        raise RefusedError(f"{source.name} has no reviews; use add_comment to say what you found")
    if subject.kind != "pr":
        raise RefusedError(
            "only a pull or merge request can be reviewed, and this is an issue; use add_comment"
        )
    verdict, body = arguments["verdict"], arguments.get("body", "")
    if verdict != "approve" and is_blank(body):
        raise RefusedError(f"body: {verdict} must say something to read")
    comments = [LineComment(**one) for one in arguments.get("comments", ())]
    for one in comments:
        if is_blank(one.body):
            raise RefusedError(f"comments: the one on {one.path} must hold something to read")
    review = NewReview(verdict=verdict, body=body, comments=comments)
    outcome = await effects.review(context.call_key, subject, source, review)
    return told(outcome, "Review submitted.")
