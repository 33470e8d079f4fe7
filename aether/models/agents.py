"""Agents and the capabilities that routing selects them by."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import AgentRole


class Agent(Model):
    """An AI persona: whom a task execution speaks as, and what it never does."""

    id = fields.CharField(64, primary_key=True)  # the caller chooses it: "pm_sarah"
    name = fields.CharField(200)
    role = fields.CharEnumField(AgentRole, max_length=8)
    description = fields.TextField(null=True)
    prompt = fields.TextField()
    context = fields.TextField(null=True)  # stands before the prompt
    identity = fields.TextField(null=True)
    responsibilities = fields.JSONField[list[str]](default=list)
    constraints = fields.JSONField[list[str]](default=list)
    communication_style = fields.TextField(null=True)
    model = fields.CharField(200, null=True)  # null: LLM_MODEL
    # asked in order where it fails
    fallback_models = fields.JSONField[list[str]](default=list, db_default=[])
    tools = fields.JSONField[list[str] | None](null=True)  # names allowed; null: all
    max_tokens_per_day = fields.BigIntField(null=True)  # null: no bound; days are UTC's
    max_tokens_per_month = fields.BigIntField(null=True)
    max_cost_usd_per_day = fields.FloatField(null=True)
    max_cost_usd_per_month = fields.FloatField(null=True)
    max_concurrent_runs = fields.IntField(null=True)
    enabled = fields.BooleanField(default=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "agent"
        ordering = ["created_at", "id"]


class AgentCapability(Model):
    """A label an agent declares, such as ``code_review``.

    No foreign key: capabilities may be seeded before their agents. Deleting an agent deletes
    its capabilities in the same transaction (resolvers/agents.py).
    """

    id = fields.IntField(primary_key=True)
    agent_id = fields.CharField(64)
    capability = fields.CharField(64)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "agent_capability"
        unique_together = [("agent_id", "capability")]
        ordering = ["id"]
