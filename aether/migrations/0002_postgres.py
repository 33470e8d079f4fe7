"""What the models cannot say: partial and expression indexes, full text, triggers, defaults."""

from tortoise import migrations
from tortoise.migrations import operations as ops

UNIQUE = [
    # a null action counts as a value
    """CREATE UNIQUE INDEX source_event_mapping_unique ON source_event_mapping
       (source, event_name, action) NULLS NOT DISTINCT""",
    # a filter may be longer than an index row
    """CREATE UNIQUE INDEX webhook_mapping_unique ON webhook_mapping
       (source, event_type, md5(jq_filter), canonical_trigger)""",
]

TEXT_SEARCH = [
    """ALTER TABLE memory ADD COLUMN tsv tsvector GENERATED ALWAYS AS (
         to_tsvector('english', key || ' ' || content)
         || to_tsvector('simple', key || ' ' || content)) STORED""",
    "CREATE INDEX memory_tsv ON memory USING gin (tsv)",
    "CREATE INDEX memory_expires ON memory (expires_at) WHERE expires_at IS NOT NULL",
    """ALTER TABLE watchdog_entry ADD COLUMN tsv tsvector GENERATED ALWAYS AS (
         to_tsvector('simple', component || ' ' || message)) STORED""",
    "CREATE INDEX watchdog_entry_tsv ON watchdog_entry USING gin (tsv)",
]

VECTORS = [
    """CREATE INDEX memory_chunk_embedding_512 ON memory_chunk
       USING hnsw ((embedding::halfvec(512)) halfvec_cosine_ops)
       WHERE embedder LIKE '%:512'""",
    """CREATE INDEX memory_chunk_embedder ON memory_chunk (embedder)""",
]

WORK = [
    # what the sweep reads: only unfinished rows are in it, however long the history is
    """CREATE INDEX task_execution_unfinished ON task_execution (status, run_after, lease_until)
       WHERE status IN ('queued', 'running', 'retrying')""",
    # how many runs bots caused on an item within the hour
    """CREATE INDEX task_execution_by_bot ON task_execution
       (source, project_key, item_key, created_at) WHERE by_bot""",
    "CREATE INDEX effect_account ON effect (source, account) WHERE account IS NOT NULL",
    # what pruning reads
    "CREATE INDEX effect_touched ON effect (touched_at)",
    """CREATE INDEX task_execution_created ON task_execution (created_at)""",
    """CREATE INDEX tool_execution_created ON tool_execution (created_at)""",
    """CREATE INDEX execution_message_created ON execution_message (created_at)""",
    """CREATE INDEX audit_entry_created ON audit_entry (created_at)""",
    """ALTER TABLE task_execution SET (fillfactor = 70)""",
]

CONFIGURATION = [
    "INSERT INTO configuration_version (id, version) VALUES (1, 1)",
    """CREATE FUNCTION raise_configuration_version() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         UPDATE configuration_version SET version = version + 1 WHERE id = 1;
         RETURN NULL;
       END $$""",
    *(
        f"""CREATE TRIGGER {table}_version AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION raise_configuration_version()"""
        for table in (
            "source_event_mapping",
            "webhook_mapping",
            "trigger_task_mapping",
            "task_definition",
            "project",
        )
    ),
]

APPEND_ONLY = [
    """CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF TG_OP = 'DELETE' AND current_setting('aether.prune', true) = 'on' THEN
           RETURN OLD;
         END IF;
         RAISE EXCEPTION 'audit_entry is append-only';
       END $$""",
    """CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
       FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()""",
]

DEFAULTS = {
    "delivery": {
        "received_at": "now()",
        "canonical_triggers": "'[]'",
        "extracted": "'{}'",
        "project_key": "''",
        "title": "''",
        "actor_is_bot": "false",
        "is_verified": "true",
    },
    "task_execution": {
        "created_at": "now()",
        "status": "'queued'",
        "run": "1",
        "tries": "0",
        "lease_token": "0",
        "cancel_requested": "false",
        "by_bot": "false",
        "project_key": "''",
        "llm_calls": "0",
        "tool_calls": "0",
        "prompt_tokens": "0",
        "completion_tokens": "0",
        "cost_usd": "0",
    },
    "execution_message": {
        "created_at": "now()",
        "prompt_tokens": "0",
        "completion_tokens": "0",
        "cost_usd": "0",
    },
    "tool_execution": {
        "created_at": "now()",
        "duration_ms": "0",
        "prompt_tokens": "0",
        "completion_tokens": "0",
    },
    "effect": {"intended_at": "now()", "touched_at": "now()", "status": "'intended'"},
    "audit_entry": {"created_at": "now()", "detail": "'{}'"},
    "watchdog_entry": {"created_at": "now()", "detail": "'{}'", "count": "1"},
    "memory": {"created_at": "now()", "updated_at": "now()", "key_space": "''"},
    "agent_capability": {"created_at": "now()"},
    "trigger_task_mapping": {"created_at": "now()"},
    "source_event_mapping": {"created_at": "now()"},
    "webhook_mapping": {
        "created_at": "now()",
        "updated_at": "now()",
        "enabled": "true",
        "extract": "'{}'",
    },
}


class Migration(migrations.Migration):
    dependencies = [("aether", "0001_tables")]

    operations = [
        ops.RunSQL(
            [
                *UNIQUE,
                *TEXT_SEARCH,
                *VECTORS,
                *WORK,
                *CONFIGURATION,
                *APPEND_ONLY,
                *(
                    f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}"
                    for table, columns in DEFAULTS.items()
                    for column, value in columns.items()
                ),
            ]
        )
    ]
