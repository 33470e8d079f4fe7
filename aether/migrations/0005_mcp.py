"""MCP servers: their tools' names, what waits to be confirmed, calls that write."""

from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import McpTransport
from orjson import loads
from tortoise.fields.data import JSON_DUMPS
from tortoise import fields
from tortoise.migrations.constraints import UniqueConstraint

class Migration(migrations.Migration):
    dependencies = [('aether', '0004_polling')]

    initial = False

    operations = [
        ops.CreateModel(
            name='McpCall',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('execution_id', fields.BigIntField()),
                ('key', fields.CharField(max_length=250)),
                ('tool', fields.CharField(max_length=64)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'mcp_call', 'app': 'aether', 'unique_together': [('execution_id', 'key')], 'pk_attr': 'id', 'table_description': 'A call that writes, stored before it is sent, so that a crash does not send it again.'},
            bases=['Model'],
        ),
        ops.AlterField(
            model_name='McpServer',
            name='transport',
            field=fields.CharEnumField(default=McpTransport.STREAMABLE_HTTP, description='STREAMABLE_HTTP: streamable_http\nSSE: sse', enum_type=McpTransport, max_length=32),
        ),
        ops.AddField(
            model_name='McpServer',
            name='endpoint',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='McpServer',
            name='error',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddField(
            model_name='McpServer',
            name='slug',
            field=fields.CharField(null=True, unique=True, max_length=24),
        ),
        ops.RunSQL("UPDATE mcp_server SET slug = 'server' || id WHERE slug IS NULL"),
        ops.AlterField(
            model_name='McpServer',
            name='slug',
            field=fields.CharField(unique=True, max_length=24),
        ),
        ops.AddField(
            model_name='ToolDefinition',
            name='confirmed',
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name='ToolDefinition',
            name='pending',
            field=fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name='ToolDefinition',
            name='unavailable_reason',
            field=fields.TextField(null=True, unique=False),
        ),
        ops.AddConstraint(
            model_name='ToolDefinition',
            constraint=UniqueConstraint(fields=('mcp_server_id', 'mcp_tool_name'), name=None),
        ),
        ops.RunSQL(
            [
                "ALTER TABLE mcp_call ALTER COLUMN created_at SET DEFAULT now()",
                "CREATE INDEX mcp_call_created ON mcp_call (created_at)",
            ]
        ),
    ]
