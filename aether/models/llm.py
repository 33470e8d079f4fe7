"""Calls of the model that belong to no task execution."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import LlmCallKind


class LlmCall(Model):
    """One call of the model outside of a run, and what it cost; history, so without foreign keys.

    A run's calls are its execution messages.
    """

    id = fields.BigIntField(primary_key=True)
    kind = fields.CharEnumField(LlmCallKind, max_length=16, default=LlmCallKind.CHAT)
    agent_id = fields.CharField(64, null=True)  # null: no agent's prompt was used
    model = fields.CharField(200)
    tool_calls = fields.IntField(default=0)  # how many the reply asked for
    prompt_tokens = fields.BigIntField(default=0)
    completion_tokens = fields.BigIntField(default=0)
    cost_usd = fields.DecimalField(16, 8, default=0)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "llm_call"
        indexes = [("agent_id", "created_at"), ("created_at",)]
        ordering = ["-id"]
