"""Indexes of the filters that lists have got: a process, a delivery, people's own acts."""

from tortoise import migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

# Most entries tell of no delivery, and fewer of people; what is not told costs no index anything.
AUDIT = [
    f"CREATE INDEX audit_entry_{column} ON audit_entry ({column}, created_at, id) WHERE {column} IS NOT NULL"
    for column in ("delivery_id", "caller")
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0015_chat_tools")]

    initial = False

    operations = [
        ops.AddIndex(model_name="WatchdogEntry", index=Index(fields=["component", "id"])),
        ops.RunSQL(AUDIT),
    ]
