"""Poll sources: source projects that are asked on a schedule."""

from tortoise import fields
from tortoise.models import Model

from aether.clock import now
from aether.vocabulary import PollStatus, SourceName


class PollSource(Model):
    """One source project to poll, its cursor and its lease."""

    id = fields.IntField(primary_key=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    source_project_id = fields.CharField(400)
    interval_minutes = fields.IntField(default=5)
    enabled = fields.BooleanField(default=True)
    integration_id = fields.IntField(null=True)
    cursor = fields.JSONField[dict[str, object]](default=dict)  # kept over edits
    begins_at = fields.DatetimeField(null=True)  # when the cursor was empty; null: created_at
    last_polled_at = fields.DatetimeField(null=True)  # when a poll last saw all there was
    next_poll_at = fields.DatetimeField(auto_now_add=True)
    requested_at = fields.DatetimeField(null=True)  # a poll is wanted, or under way
    enqueued_at = fields.DatetimeField(null=True)  # its hint was sent
    lease_token = fields.BigIntField(default=0)
    lease_until = fields.DatetimeField(null=True)
    failures = fields.IntField(default=0)
    error = fields.TextField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "poll_source"
        unique_together = [("source", "source_project_id")]
        indexes = [("enabled", "next_poll_at")]
        ordering = ["id"]

    @property
    def status(self) -> PollStatus:
        """Where it stands, as of the row."""
        if self.lease_until is not None and self.lease_until > now():
            return PollStatus.POLLING
        return PollStatus.IDLE if self.requested_at is None else PollStatus.QUEUED


class ScheduleTick(Model):
    """A schedule's due moment that some process has taken: the unique pair decides which."""

    id = fields.BigIntField(primary_key=True)
    schedule = fields.CharField(100)
    due_at = fields.DatetimeField()

    class Meta:
        table = "schedule_tick"
        unique_together = [("schedule", "due_at")]
