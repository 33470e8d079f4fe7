"""Calls of the model outside of a run: what a chat has cost."""

from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import LlmCallKind
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [("aether", "0005_mcp")]

    initial = False

    operations = [
        ops.CreateModel(
            name='LlmCall',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('kind', fields.CharEnumField(default=LlmCallKind.CHAT, description='CHAT: chat', enum_type=LlmCallKind, max_length=16)),
                ('agent_id', fields.CharField(null=True, max_length=64)),
                ('model', fields.CharField(max_length=200)),
                ('tool_calls', fields.IntField(default=0)),
                ('prompt_tokens', fields.BigIntField(default=0)),
                ('completion_tokens', fields.BigIntField(default=0)),
                ('cost_usd', fields.DecimalField(default=0, max_digits=16, decimal_places=8)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'llm_call', 'app': 'aether', 'indexes': [Index(fields=['agent_id', 'created_at']), Index(fields=['created_at'])], 'pk_attr': 'id', 'table_description': "One call of the model outside of a run, and what it cost; history, so without foreign keys."},
            bases=['Model'],
        ),
        ops.RunSQL(
            ["ALTER TABLE llm_call ALTER COLUMN created_at SET DEFAULT now()"]
            + [
                f"ALTER TABLE llm_call ALTER COLUMN {column} SET DEFAULT 0"
                for column in ("tool_calls", "prompt_tokens", "completion_tokens", "cost_usd")
            ]
        ),
    ]
