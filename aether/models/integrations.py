"""Dynamic integrations: stored credentials for a source, for one agent or project."""

from tortoise import fields
from tortoise.models import Model

from aether.models.agents import Agent
from aether.models.projects import Project
from aether.vocabulary import SourceName


class Integration(Model):
    """Credentials other than the environment's; they are encrypted, see aether.crypto."""

    id = fields.IntField(primary_key=True)
    source = fields.CharEnumField(SourceName, max_length=16)
    name = fields.CharField(200, unique=True)
    slug = fields.CharField(100, null=True, unique=True)  # /webhook/<slug>
    base_url = fields.TextField(null=True)
    credentials_encrypted = fields.TextField()
    webhook = fields.JSONField[dict[str, object]](default=dict)  # header, algorithm, prefix, …
    webhook_secret_encrypted = fields.TextField(null=True)
    agent: fields.ForeignKeyNullableRelation[Agent] = fields.ForeignKeyField(
        "aether.Agent", related_name="integrations", null=True, on_delete=fields.CASCADE
    )
    agent_id: str | None
    project: fields.ForeignKeyNullableRelation[Project] = fields.ForeignKeyField(
        "aether.Project", related_name="integrations", null=True, on_delete=fields.CASCADE
    )
    project_id: int | None
    enabled = fields.BooleanField(default=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "integration"
        ordering = ["id"]
