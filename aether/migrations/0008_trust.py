from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import AnswerMode
from orjson import loads
from tortoise.fields.data import JSON_DUMPS
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('aether', '0007_indexes')]

    initial = False

    operations = [
        ops.AddField(
            model_name='Agent',
            name='fallback_models',
            field=fields.JSONField(default=list, db_default=[], encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name='Agent',
            name='max_concurrent_runs',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='Agent',
            name='max_cost_usd_per_day',
            field=fields.FloatField(null=True),
        ),
        ops.AddField(
            model_name='Agent',
            name='max_cost_usd_per_month',
            field=fields.FloatField(null=True),
        ),
        ops.AddField(
            model_name='Agent',
            name='max_tokens_per_day',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='Agent',
            name='max_tokens_per_month',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='Project',
            name='max_concurrent_runs',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='Project',
            name='max_cost_usd_per_day',
            field=fields.FloatField(null=True),
        ),
        ops.AddField(
            model_name='Project',
            name='max_cost_usd_per_month',
            field=fields.FloatField(null=True),
        ),
        ops.AddField(
            model_name='Project',
            name='max_tokens_per_day',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='Project',
            name='max_tokens_per_month',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='answer_mode',
            field=fields.CharEnumField(default=AnswerMode.ADD, description='ADD: add\nUPDATE: update', db_default=AnswerMode.ADD, enum_type=AnswerMode, max_length=8),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='approval_timeout_minutes',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='approve_answer',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='approve_tools',
            field=fields.JSONField(default=list, db_default=[], encoder=JSON_DUMPS, decoder=loads),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='cancel_on_close',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='cancel_on_newer',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='max_cost_usd_per_run',
            field=fields.FloatField(null=True),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='max_runs_per_item_hour',
            field=fields.IntField(null=True),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='max_tokens_per_run',
            field=fields.BigIntField(null=True),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='outsiders_may_act',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='TaskDefinition',
            name='summarize',
            field=fields.BooleanField(default=False, db_default=False),
        ),
        ops.AddField(
            model_name='ToolDefinition',
            name='requires_approval',
            field=fields.BooleanField(default=False, db_default=False),
        ),
    ]
