"""Calls of the model that no message of a run tells of."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import LlmCallKind


class LlmCall(Model):
    """One call of a chat, or one that broke off; history, so without foreign keys.

    A run's other calls are its execution messages.
    """

    id = fields.BigIntField(primary_key=True)
    kind = fields.CharEnumField(LlmCallKind, max_length=16, default=LlmCallKind.CHAT)
    agent_id = fields.CharField(64, null=True)  # null: no agent's prompt was used
    execution_id = fields.BigIntField(null=True)  # null: a chat's
    run = fields.IntField(null=True)
    model = fields.CharField(200)
    tool_calls = fields.IntField(default=0)  # how many the reply asked for
    prompt_tokens = fields.BigIntField(default=0)
    completion_tokens = fields.BigIntField(default=0)
    cost_usd = fields.DecimalField(16, 8, default=0)
    unpriced = fields.BooleanField(default=False, db_default=False)  # its price was not known
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "llm_call"
        indexes = [("agent_id", "created_at"), ("created_at",)]
        ordering = ["-id"]
