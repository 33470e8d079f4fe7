"""Tools that read and write the conversation on an item."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aether.events import Subject
from aether.rendering import is_blank
from aether.sources.base import Outbound, Source
from aether.tools.base import RefusedError, ToolContext, told

DEFAULT_COMMENTS: Final = 30


async def add_comment(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Speak on the item: the run's one comment; a second call adds to it."""
    effects, subject = context.target(arguments)
    if is_blank(arguments["body"]):
        raise RefusedError("body: must hold something to read")
    outcome = await effects.say(context.call_key, arguments["body"], on=subject)
    return told(outcome, "Comment posted.")


async def list_comments(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """The newest ``limit`` comments, oldest first, as JSON.

    What not everybody may read is left out where everybody may read the answer.
    """
    effects, subject = context.target(arguments)
    return await read(context.source, await effects.outbound(), subject, arguments)


async def read(
    source: Source, client: Outbound, subject: Subject, arguments: Mapping[str, Any]
) -> str:
    """What ``list_comments`` gives; needs no run."""
    listed = await source.list_comments(client, subject)
    comments = [one for one in listed if subject.audience or not one.is_restricted]
    newest = comments[-int(arguments.get("limit", DEFAULT_COMMENTS)) :]
    return json.dumps(
        {
            "comments": [
                {
                    "author": one.author,
                    "is_bot": one.is_bot,
                    "association": one.association,
                    "created_at": one.created_at,
                    "body": one.body,
                }
                for one in newest
            ],
            "left_out": len(comments) - len(newest),
            "restricted": len(listed) - len(comments),
        },
        ensure_ascii=False,
    )
