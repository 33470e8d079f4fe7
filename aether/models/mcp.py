"""MCP servers: places that offer more tools."""

from tortoise import fields
from tortoise.models import Model

from aether.models.agents import Agent


class McpServer(Model):
    """One server, for one agent or for all."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(200, unique=True)
    url = fields.TextField()
    transport = fields.CharField(32, default="streamable_http")
    headers_encrypted = fields.TextField(null=True)
    agent: fields.ForeignKeyNullableRelation[Agent] = fields.ForeignKeyField(
        "aether.Agent", related_name="mcp_servers", null=True, on_delete=fields.CASCADE
    )
    enabled = fields.BooleanField(default=True)
    discovered_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "mcp_server"
        ordering = ["id"]
