"""Deliveries: each verified webhook, stored once."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import DeliveryStatus, SourceName


class Delivery(Model):
    """One verified webhook or one polled change, and what was made of it."""

    id = fields.BigIntField(primary_key=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    slug = fields.CharField(100)
    delivery_key = fields.CharField(400)  # the same over a delivery's retries
    change_key = fields.CharField(400)  # what happened, whoever told it
    event_name = fields.CharField(200)  # the platform's own words
    action = fields.CharField(200, null=True)
    status = fields.CharEnumField(DeliveryStatus, max_length=16)
    reason = fields.TextField(null=True)  # why it was ignored, which gates held a task back
    canonical_triggers = fields.JSONField[list[str]](default=list)
    is_verified = fields.BooleanField(default=True)  # false: let in by ALLOW_UNSIGNED
    project_id = fields.IntField(null=True)
    project_key = fields.CharField(400, default="")
    item_kind = fields.CharField(16, null=True)
    item_key = fields.CharField(100, null=True)
    title = fields.TextField(default="")
    actor = fields.CharField(200, null=True)
    actor_is_bot = fields.BooleanField(default=False)
    event = fields.JSONField[dict[str, object]]()  # SourceEvent without its payload
    payload = fields.JSONField[dict[str, object]]()
    extracted = fields.JSONField[dict[str, object]](default=dict)  # by webhook mappings' extract
    replay_of = fields.BigIntField(null=True)
    received_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "delivery"
        unique_together = [("source", "delivery_key"), ("source", "change_key")]
        indexes = [
            ("source", "id"),
            ("status", "id"),
            ("project_id", "id"),
            ("received_at",),
        ]
        ordering = ["-id"]
