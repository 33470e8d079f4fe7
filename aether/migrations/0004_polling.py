"""What a poll source needs to be taken, and the indexes by which an item's deliveries are found."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

INDEXES = [
    # what an item's deliveries have told of its state
    """CREATE INDEX delivery_item ON delivery (source, project_key, item_key)
       WHERE item_key IS NOT NULL""",
    # what polls alone have told of it: few or none, and asked for by each webhook of an update
    """CREATE INDEX delivery_item_state ON delivery (source, project_key, item_key)
       WHERE event->>'told_by' = 'state'""",
    # what the scheduler reads once a second
    "CREATE INDEX poll_source_wanted ON poll_source (enqueued_at) WHERE requested_at IS NOT NULL",
    "CREATE INDEX schedule_tick_due ON schedule_tick (due_at)",
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0003_live")]

    operations = [
        *(
            ops.AddField(
                model_name="PollSource",
                name=name,
                field=fields.DatetimeField(null=True, auto_now=False, auto_now_add=False),
            )
            for name in ("begins_at", "enqueued_at", "requested_at")
        ),
        ops.RunSQL(INDEXES),
    ]
