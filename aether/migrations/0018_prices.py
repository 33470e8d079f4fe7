from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import LlmCallKind
from tortoise import fields
from tortoise.indexes import Index

# what a run's limits add up; most rows are of chats
OF_RUNS = """CREATE INDEX llm_call_of_run ON llm_call (execution_id, run)
  WHERE execution_id IS NOT NULL"""


class Migration(migrations.Migration):
    dependencies = [('aether', '0017_deciders')]

    initial = False

    operations = [
        ops.AddField(
            model_name='ExecutionMessage',
            name='unpriced',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AlterModelOptions(
            name='LlmCall',
            options={'table': 'llm_call', 'app': 'aether', 'indexes': [Index(fields=['agent_id', 'created_at']), Index(fields=['created_at'])], 'pk_attr': 'id', 'table_description': 'One call of a chat, or one that broke off; history, so without foreign keys.'},
        ),
        ops.AlterField(
            model_name='LlmCall',
            name='kind',
            field=fields.CharEnumField(default=LlmCallKind.CHAT, description='CHAT: chat\nBROKEN_OFF: broken_off', enum_type=LlmCallKind, max_length=16),
        ),
        ops.AddField(
            model_name='LlmCall',
            name='execution_id',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='LlmCall',
            name='run',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='LlmCall',
            name='unpriced',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='TaskExecution',
            name='unpriced_calls',
            field=fields.IntField(default=0, db_default=0),
        ),
        ops.AddField(
            model_name='UsageDay',
            name='estimated_calls',
            field=fields.BigIntField(default=0, db_default=0),
        ),
        ops.AddField(
            model_name='UsageDay',
            name='unpriced_calls',
            field=fields.BigIntField(default=0, db_default=0),
        ),
        ops.RunSQL(OF_RUNS),
    ]
