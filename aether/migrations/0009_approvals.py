from tortoise import migrations
from tortoise.migrations import operations as ops
from aether.vocabulary import ApprovalKind, ApprovalStatus
from orjson import loads
from tortoise.fields.data import JSON_DUMPS
from tortoise import fields
from tortoise.indexes import Index

class Migration(migrations.Migration):
    dependencies = [('aether', '0008_trust')]

    initial = False

    operations = [
        ops.CreateModel(
            name='Approval',
            fields=[
                ('id', fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ('execution_id', fields.BigIntField()),
                ('run', fields.IntField()),
                ('key', fields.CharField(max_length=250)),
                ('kind', fields.CharEnumField(description='TOOL: tool\nANSWER: answer', enum_type=ApprovalKind, max_length=8)),
                ('tool', fields.CharField(null=True, max_length=200)),
                ('arguments', fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads)),
                ('text', fields.TextField(null=True, unique=False)),
                ('status', fields.CharEnumField(default=ApprovalStatus.PENDING, description='PENDING: pending\nAPPROVED: approved\nCHANGED: changed\nREFUSED: refused\nEXPIRED: expired\nWITHDRAWN: withdrawn', db_default='pending', enum_type=ApprovalStatus, max_length=16)),
                ('decided_arguments', fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads)),
                ('decided_text', fields.TextField(null=True, unique=False)),
                ('reason', fields.TextField(null=True, unique=False)),
                ('agent_id', fields.CharField(null=True, max_length=64)),
                ('task_id', fields.CharField(max_length=64)),
                ('project_id', fields.IntField(null=True)),
                ('created_at', fields.DatetimeField(auto_now=False, auto_now_add=True)),
                ('expires_at', fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ('decided_at', fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={'table': 'approval', 'app': 'aether', 'unique_together': [('execution_id', 'key')], 'indexes': [Index(fields=['status', 'id']), Index(fields=['created_at'])], 'pk_attr': 'id', 'table_description': 'One tool call or one answer that waits, or waited, for a person; history.'},
            bases=['Model'],
        ),
    ]
