"""What a model may call, each call, each write (effects), and comments that runs share."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import EffectStatus, SourceName, ToolEffect, ToolExecutionStatus


class ToolDefinition(Model):
    """A tool as the model sees it; a row that names no code of ours or MCP tool is inert."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(64, unique=True)
    description = fields.TextField(default="")
    category = fields.CharField(64, null=True)
    effect = fields.CharEnumField(ToolEffect, max_length=8, default=ToolEffect.READS)
    parameters = fields.JSONField[dict[str, object]](default=dict)  # JSON Schema
    mcp_server_id = fields.IntField(null=True)
    mcp_tool_name = fields.TextField(null=True)  # the server's own word
    fingerprint = fields.CharField(64, null=True)  # hash of what was confirmed
    confirmed = fields.JSONField[dict[str, object] | None](null=True)  # as the server told it then
    pending = fields.JSONField[dict[str, object] | None](null=True)  # as it tells it since
    unavailable_reason = fields.TextField(null=True)  # why it is not offered now
    # a person sees each call first
    requires_approval = fields.BooleanField(default=False, db_default=False)
    enabled = fields.BooleanField(default=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "tool_definition"
        unique_together = [("mcp_server_id", "mcp_tool_name")]
        ordering = ["id"]


class ToolExecution(Model):
    """Our running of one tool call, of a run or of a chat."""

    id = fields.BigIntField(primary_key=True)
    execution_id = fields.BigIntField(null=True)  # null: a chat's; its ``run`` is 1
    run = fields.IntField()
    round = fields.IntField()  # which reply of the model asked for it, from 1
    call_id = fields.CharField(200)
    tool = fields.CharField(200)
    agent_id = fields.CharField(64, null=True)
    arguments = fields.JSONField[object](null=True)  # as read; a string where unreadable
    result = fields.TextField(null=True)
    status = fields.CharEnumField(ToolExecutionStatus, max_length=16)
    error = fields.TextField(null=True)
    duration_ms = fields.IntField(default=0)
    prompt_tokens = fields.BigIntField(default=0)  # of the model's reply that asked for it
    completion_tokens = fields.BigIntField(default=0)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "tool_execution"
        unique_together = [("execution_id", "run", "round", "call_id")]
        indexes = [("agent_id", "id"), ("tool", "id"), ("status", "id")]
        ordering = ["-id"]


class Effect(Model):
    """One intended write to a platform: stored before the call, settled after it."""

    id = fields.BigIntField(primary_key=True)
    execution_id = fields.BigIntField()
    key = fields.CharField(250)  # "answer", or run, round and call id of a tool call
    kind = fields.CharField(32)  # comment, update, close, label, assign, create
    source = fields.CharEnumField(SourceName, max_length=16)
    site = fields.CharField(300, default="", db_default="")  # empty: the environment's own
    project_key = fields.CharField(400)
    item_kind = fields.CharField(16)
    item_key = fields.CharField(100)
    audience = fields.CharField(300, default="", db_default="")  # empty: who may read the item
    content = fields.JSONField[dict[str, object]]()
    content_hash = fields.CharField(64)  # of what is, or will be, at the platform
    marker = fields.CharField(64, unique=True)  # unguessable; stands in what we create
    status = fields.CharEnumField(EffectStatus, max_length=16, default=EffectStatus.INTENDED)
    platform_id = fields.CharField(200, null=True)  # the comment's or item's id there
    account = fields.CharField(200, null=True)  # the bot account that the platform says wrote it
    url = fields.TextField(null=True)
    error = fields.TextField(null=True)
    intended_at = fields.DatetimeField(auto_now_add=True)
    touched_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "effect"
        unique_together = [("execution_id", "key")]
        indexes = [
            ("source", "platform_id"),
            ("source", "project_key", "item_key", "touched_at"),
        ]
        ordering = ["id"]


class StandingAnswer(Model):
    """The one comment of a task on an item: what stands there, and who may write it now."""

    id = fields.BigIntField(primary_key=True)
    place = fields.CharField(64, unique=True)  # hash of the task, the site's item, the audience
    task_id = fields.CharField(64)
    source = fields.CharEnumField(SourceName, max_length=16)
    site = fields.CharField(300)
    project_key = fields.CharField(400)
    item_key = fields.CharField(100)
    audience = fields.CharField(300)
    execution_id = fields.BigIntField(null=True)  # the newest that wrote it, or may have
    marker = fields.CharField(64, null=True)  # that it wrote
    written_at = fields.DatetimeField(null=True)  # when it was about to
    platform_id = fields.CharField(200, null=True)
    url = fields.TextField(null=True)
    held_by = fields.BigIntField(null=True)  # the execution whose turn it is
    held_token = fields.BigIntField(null=True)  # of its lease
    held_until = fields.DatetimeField(null=True)
    touched_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "standing_answer"
        indexes = [("touched_at",)]
        ordering = ["id"]
