"""Approvals: tool calls and answers that a person sees before they happen."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import ApprovalKind, ApprovalStatus


class Approval(Model):
    """One tool call or one answer that waits, or waited, for a person; history."""

    id = fields.BigIntField(primary_key=True)
    execution_id = fields.BigIntField()
    run = fields.IntField()
    key = fields.CharField(250)  # the tool call's, or the answer's place in the conversation
    kind = fields.CharEnumField(ApprovalKind, max_length=8)
    tool = fields.CharField(200, null=True)
    arguments = fields.JSONField[dict[str, object] | None](null=True)  # as the model wrote them
    text = fields.TextField(null=True)  # the answer as the model wrote it
    status = fields.CharEnumField(
        ApprovalStatus, max_length=16, default=ApprovalStatus.PENDING, db_default="pending"
    )
    decided_arguments = fields.JSONField[dict[str, object] | None](null=True)  # if changed
    decided_text = fields.TextField(null=True)
    reason = fields.TextField(null=True)  # why it was refused, for the model to read
    decided_by = fields.CharField(200, null=True)  # a name that whoever decided gave
    agent_id = fields.CharField(64, null=True)
    task_id = fields.CharField(64)
    project_id = fields.IntField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    expires_at = fields.DatetimeField()
    decided_at = fields.DatetimeField(null=True)

    class Meta:
        table = "approval"
        unique_together = [("execution_id", "key")]
        indexes = [("status", "id"), ("created_at",)]
        ordering = ["-id"]
