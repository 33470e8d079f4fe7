from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields
from tortoise.indexes import Index

UNIQUE = """CREATE UNIQUE INDEX usage_day_unique ON usage_day
  (day, agent_id, task_id, project_id, model) NULLS NOT DISTINCT"""

# what was spent before this table was there, as far as its messages are kept
BEFORE = """
INSERT INTO usage_day (day, agent_id, task_id, project_id, model, llm_calls, prompt_tokens,
  completion_tokens, cost_usd)
SELECT (message.created_at AT TIME ZONE 'UTC')::date, agent_id, task_id, project_id, message.model,
  count(*), sum(message.prompt_tokens), sum(message.completion_tokens), sum(message.cost_usd)
FROM execution_message AS message JOIN task_execution AS execution
  ON execution.id = message.execution_id
WHERE message.model IS NOT NULL GROUP BY 1, 2, 3, 4, 5
"""


class Migration(migrations.Migration):
    dependencies = [('aether', '0009_approvals')]

    initial = False

    operations = [
        ops.CreateModel(
            name='LimitNotice',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('of', fields.CharField(max_length=200)),
                ('limit', fields.CharField(max_length=64)),
                ('period', fields.CharField(max_length=64)),
                ('level', fields.CharField(max_length=8)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
            ],
            options={'table': 'limit_notice', 'app': 'aether', 'unique_together': [('of', 'limit', 'period', 'level')], 'indexes': [Index(fields=['created_at'])], 'pk_attr': 'id', 'table_description': 'A limit that has been warned about, or reached, in one period: told once.'},
            bases=['Model'],
        ),
        ops.CreateModel(
            name='UsageDay',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('day', fields.DateField()),
                ('agent_id', fields.CharField(null=True, max_length=64)),
                ('task_id', fields.CharField(null=True, max_length=64)),
                ('project_id', fields.IntField(null=True)),
                ('model', fields.CharField(max_length=200)),
                ('llm_calls', fields.BigIntField(default=0)),
                ('prompt_tokens', fields.BigIntField(default=0)),
                ('completion_tokens', fields.BigIntField(default=0)),
                ('cost_usd', fields.DecimalField(default=0, max_digits=20, decimal_places=8)),
            ],
            options={'table': 'usage_day', 'app': 'aether', 'indexes': [Index(fields=['agent_id', 'day']), Index(fields=['project_id', 'day']), Index(fields=['day'])], 'pk_attr': 'id', 'table_description': "One day's sums, in UTC, for one agent, task, project and model; history."},
            bases=['Model'],
        ),
        ops.RunSQL([UNIQUE, BEFORE]),
    ]
