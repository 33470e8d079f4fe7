from tortoise import migrations
from tortoise.migrations import operations as ops
from tortoise import fields

class Migration(migrations.Migration):
    dependencies = [('aether', '0011_dimensions')]

    initial = False

    operations = [
        ops.AddField(
            model_name='TaskExecution',
            name='summary_tries',
            field=fields.IntField(null=True),
        ),
        ops.RunSQL(
            """CREATE INDEX task_execution_summary ON task_execution (id)
               WHERE summary_tries IS NOT NULL"""
        ),
    ]
