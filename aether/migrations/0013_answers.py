from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import SourceName
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('aether', '0012_summaries')]

    initial = False

    operations = [
        ops.CreateModel(
            name='StandingAnswer',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('place', fields.CharField(unique=True, max_length=64)),
                ('task_id', fields.CharField(max_length=64)),
                ('source', fields.CharEnumField(description='GITHUB: github\nGITLAB: gitlab\nJIRA: jira\nPLANE: plane', enum_type=SourceName, max_length=16)),
                ('site', fields.CharField(max_length=300)),
                ('project_key', fields.CharField(max_length=400)),
                ('item_key', fields.CharField(max_length=100)),
                ('audience', fields.CharField(max_length=300)),
                ('execution_id', fields.BigIntField(null=True)),
                ('marker', fields.CharField(null=True, max_length=64)),
                ('written_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('platform_id', fields.CharField(null=True, max_length=200)),
                ('url', fields.TextField(null=True, unique=False)),
                ('held_by', fields.BigIntField(null=True)),
                ('held_token', fields.BigIntField(null=True)),
                ('held_until', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ('touched_at', fields.DatetimeField(auto_now=True, auto_now_add=False)),
            ],
            options={'table': 'standing_answer', 'app': 'aether', 'indexes': [Index(fields=['touched_at'])], 'pk_attr': 'id', 'table_description': 'The one comment of a task on an item: what stands there, and who may write it now.'},
            bases=['Model'],
        ),
        ops.AddField(
            model_name='Effect',
            name='audience',
            field=fields.CharField(default='', db_default='', max_length=300),
        ),
        ops.AddField(
            model_name='Effect',
            name='site',
            field=fields.CharField(default='', db_default='', max_length=300),
        ),
        ops.AddField(
            model_name='TaskExecution',
            name='site',
            field=fields.CharField(default='', db_default='', max_length=300),
        ),
        # its rows are written by SQL, which knows no auto_now
        ops.RunSQL("ALTER TABLE standing_answer ALTER COLUMN touched_at SET DEFAULT now()"),
    ]
