"""The audit log: who did what to what, when. Append-only; a database trigger refuses the rest."""

from tortoise import fields
from tortoise.models import Model


class AuditEntry(Model):
    """One act."""

    id = fields.BigIntField(primary_key=True)
    action = fields.CharField(64)  # task.started, tool.called, comment.posted, agent.updated, …
    agent_id = fields.CharField(64, null=True)
    execution_id = fields.BigIntField(null=True)
    delivery_id = fields.BigIntField(null=True)
    caller = fields.CharField(200, null=True)  # "api" for people and programs; null: ourselves
    # of a caller: the door and the address that it came from, "rest 127.0.0.1"
    origin = fields.CharField(200, null=True)
    detail = fields.JSONField[dict[str, object]](default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "audit_entry"
        indexes = [("agent_id", "id"), ("execution_id", "id"), ("action", "id")]
        ordering = ["-id"]
