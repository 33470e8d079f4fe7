"""Projects: our configuration for one repository or board."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import SourceName


class Project(Model):
    """Groups configuration for one project of a source."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(200)
    description = fields.TextField(null=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    source_project_id = fields.CharField(400)  # the source's word: "myorg/api-service", "PROJ"
    max_tokens_per_day = fields.BigIntField(null=True)  # null: no bound; days are UTC's
    max_tokens_per_month = fields.BigIntField(null=True)
    max_cost_usd_per_day = fields.FloatField(null=True)
    max_cost_usd_per_month = fields.FloatField(null=True)
    max_concurrent_runs = fields.IntField(null=True)
    enabled = fields.BooleanField(default=True)  # false: its events are stored and ignored
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "project"
        unique_together = [("source", "source_project_id")]
        ordering = ["id"]
