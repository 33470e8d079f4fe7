from tortoise import migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("aether", "0014_guard")]

    initial = False

    operations = [
        ops.AddIndex(model_name="WatchdogEntry", index=Index(fields=["component", "id"])),
    ]
