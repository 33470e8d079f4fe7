"""From a source's words to a canonical trigger, and from a trigger to tasks."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import SourceName


class SourceEventMapping(Model):
    """Source, event name and action (null matches any) give a canonical trigger."""

    id = fields.IntField(primary_key=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    event_name = fields.CharField(200)
    action = fields.CharField(200, null=True)
    canonical_trigger = fields.CharField(100)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "source_event_mapping"  # unique, null as a value: first migration
        ordering = ["id"]


class WebhookMapping(Model):
    """A jq rule: source, event type and a true filter add a canonical trigger."""

    id = fields.IntField(primary_key=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    event_type = fields.CharField(200)
    jq_filter = fields.TextField()
    canonical_trigger = fields.CharField(100)
    name = fields.CharField(200, null=True)
    slug = fields.CharField(100, null=True, unique=True)
    extract = fields.JSONField[dict[str, str]](default=dict)  # name to jq program, for the prompt
    enabled = fields.BooleanField(default=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "webhook_mapping"  # unique over the filter's hash: first migration
        ordering = ["id"]


class TriggerTaskMapping(Model):
    """A canonical trigger starts a task definition, if its gates let it.

    No foreign key: mappings may be seeded before their tasks; one that names nothing is inert.
    """

    id = fields.IntField(primary_key=True)
    canonical_trigger = fields.CharField(100)
    task_id = fields.CharField(64)
    condition = fields.TextField(null=True)  # jq over the payload, with $event
    min_association = fields.CharField(32, null=True)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "trigger_task_mapping"
        unique_together = [("canonical_trigger", "task_id")]
        ordering = ["id"]


class ConfigurationVersion(Model):
    """One row; triggers of the configuration's tables raise it, caches compare it."""

    id = fields.IntField(primary_key=True)
    version = fields.BigIntField(default=1)

    class Meta:
        table = "configuration_version"
