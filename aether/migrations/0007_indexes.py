"""Indexes that lists and connections are read by, and what the planner must know of filters."""

from tortoise import migrations
from tortoise.migrations import operations as ops

# A memory keeps its id when an expired key is used anew, so its list goes by creation.
BY_CREATION = [
    "CREATE INDEX memory_created ON memory (created_at, id)",
    *(
        f"CREATE INDEX memory_{column}_created ON memory ({column}, created_at, id)"
        for column in ("agent_id", "project_id", "scope", "key_space")
    ),
]

# Which values go together. Without it "tool executions of this agent, of that tool", where there
# are none, walks the whole table: the planner expects one in every few hundred rows. Unlike an
# index it costs nothing when a row is written.
TOGETHER = [
    f"CREATE STATISTICS {table}_filters (mcv) ON {columns} FROM {table}"
    for table, columns in (
        ("delivery", "source, status"),
        ("task_execution", "task_id, agent_id"),
        ("tool_execution", "agent_id, tool"),
    )
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0006_chat")]

    operations = [ops.RunSQL([*BY_CREATION, *TOGETHER])]
