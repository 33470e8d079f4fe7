"""MCP servers: places that offer more tools."""

from tortoise import fields
from tortoise.models import Model

from aether.models.agents import Agent
from aether.vocabulary import McpTransport


class McpServer(Model):
    """One server, for one agent or for all."""

    id = fields.IntField(primary_key=True)
    name = fields.CharField(200, unique=True)
    slug = fields.CharField(24, unique=True)  # stands in its tools' names; stays when it is renamed
    url = fields.TextField()
    transport = fields.CharEnumField(
        McpTransport, max_length=32, default=McpTransport.STREAMABLE_HTTP
    )
    headers_encrypted = fields.TextField(null=True)
    agent: fields.ForeignKeyNullableRelation[Agent] = fields.ForeignKeyField(
        "aether.Agent", related_name="mcp_servers", null=True, on_delete=fields.CASCADE
    )
    agent_id: str | None
    enabled = fields.BooleanField(default=True)
    endpoint = fields.TextField(null=True)  # where discovery found it, below an url without a path
    error = fields.TextField(null=True)  # of the last discovery
    discovered_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "mcp_server"
        ordering = ["id"]


class McpCall(Model):
    """A call that writes, stored before it is sent, so that a crash does not send it again."""

    id = fields.BigIntField(primary_key=True)
    execution_id = fields.BigIntField()
    key = fields.CharField(250)  # run, round and call id of the tool call
    tool = fields.CharField(64)
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "mcp_call"
        unique_together = [("execution_id", "key")]
        ordering = ["id"]
