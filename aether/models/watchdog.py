"""The watchdog log: warnings and errors of ours that are kept for a person to read."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import WatchdogLevel


class WatchdogEntry(Model):
    """One warning or error; repeats within a minute raise ``count`` on the same row."""

    id = fields.BigIntField(primary_key=True)
    level = fields.CharEnumField(WatchdogLevel, max_length=8)
    component = fields.CharField(100)
    message = fields.TextField()
    message_hash = fields.CharField(64)
    minute = fields.DatetimeField()
    count = fields.IntField(default=1)
    detail = fields.JSONField[dict[str, object]](default=dict)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "watchdog_entry"  # tsv column and its index: first migration
        unique_together = [("minute", "level", "component", "message_hash")]
        indexes = [("level", "id"), ("created_at",), ("component", "id")]
        ordering = ["-id"]
