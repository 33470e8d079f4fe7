"""Tools that read and change issues and pull requests."""

import json
from collections.abc import Mapping
from typing import Any

from aether.events import Subject
from aether.sources.base import ItemChanges, NewItem, Outbound, Source
from aether.tools.base import RefusedError, ToolContext, told


async def get_issue(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """The item as it is now, as JSON."""
    effects, subject = context.target(arguments)
    return await read(context.source, await effects.outbound(), subject)


async def read(source: Source, client: Outbound, subject: Subject) -> str:
    """What ``get_issue`` gives; needs no run."""
    item = await source.read_item(client, subject)
    return json.dumps({"key": subject.key, **item}, ensure_ascii=False)


async def update_issue(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Set the title or the body."""
    title, body = arguments.get("title"), arguments.get("body")
    if title is None and body is None:
        raise RefusedError("title, body: give at least one of them")
    return await _change(
        context, arguments, "update", ItemChanges(title=title, body=body),
        {"title": title, "body": body}, "Updated.",
    )  # fmt: skip


async def close_issue(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Close the item."""
    reason = arguments.get("reason", "completed")
    return await _change(
        context, arguments, "close", ItemChanges(state="closed", state_reason=reason),
        {"reason": reason}, "Closed.",
    )  # fmt: skip


async def add_labels(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Put labels on the item."""
    labels = list(dict.fromkeys(arguments["labels"]))
    return await _change(
        context, arguments, "label", ItemChanges(add_labels=labels), {"names": labels},
        f"Labels added: {', '.join(labels)}.",
    )  # fmt: skip


async def remove_labels(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Take labels off the item."""
    labels = list(dict.fromkeys(arguments["labels"]))
    return await _change(
        context, arguments, "unlabel", ItemChanges(remove_labels=labels), {"names": labels},
        f"Labels removed: {', '.join(labels)}.",
    )  # fmt: skip


async def assign_issue(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Assign people to the item."""
    people = [one.removeprefix("@") for one in dict.fromkeys(arguments["assignees"])]
    return await _change(
        context, arguments, "assign", ItemChanges(add_assignees=people), {"names": people},
        f"Assigned: {', '.join(people)}.",
    )  # fmt: skip


async def create_issue(context: ToolContext, arguments: Mapping[str, Any]) -> str:
    """Create an issue in the project of the item at hand."""
    effects, _ = context.target({})
    outcome = await effects.create(
        context.call_key,
        NewItem(
            title=arguments["title"],
            body=arguments["body"],
            labels=arguments.get("labels", ()),
        ),
    )
    return told(outcome, f"Issue {outcome.id} created.")


async def _change(
    context: ToolContext,
    arguments: Mapping[str, Any],
    kind: str,
    changes: ItemChanges,
    content: dict[str, Any],
    done: str,
) -> str:
    effects, subject = context.target(arguments)
    return told(await effects.change(context.call_key, kind, subject, changes, content), done)
