"""The runs of an item, by an index."""

from tortoise import migrations
from tortoise.migrations import operations as ops

# How often tasks, or bots, were started on an item within the hour, and what is under way there:
# asked for each delivery. The older index held bots' runs only.
ITEM = [
    """CREATE INDEX task_execution_item ON task_execution (project_key, item_key, created_at)
       WHERE item_key IS NOT NULL""",
    "DROP INDEX task_execution_by_bot",
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0019_places")]

    initial = False

    operations = [ops.RunSQL(ITEM)]
