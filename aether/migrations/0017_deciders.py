from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("aether", "0016_components")]

    initial = False

    operations = [
        ops.AddField(
            model_name="Approval",
            name="decided_by",
            field=fields.CharField(null=True, max_length=200),
        ),
    ]
