"""The watchdog log's words: those of a path, an address or a key, too."""

from tortoise import migrations
from tortoise.migrations import operations as ops

# PostgreSQL takes /repos/acme/api for one word, which nobody finds who asks for acme/api. The search
# (resolvers/watchdog.py) takes its own words apart at the same places.
WORDS = [
    "ALTER TABLE watchdog_entry DROP COLUMN tsv",
    """ALTER TABLE watchdog_entry ADD COLUMN tsv tsvector GENERATED ALWAYS AS (
         to_tsvector('simple', component || ' '
           || translate(replace(message, '%2F', ' '), '/.:@', '    '))) STORED""",
    "CREATE INDEX watchdog_entry_tsv ON watchdog_entry USING gin (tsv)",
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0020_items")]

    initial = False

    operations = [ops.RunSQL(WORDS)]
