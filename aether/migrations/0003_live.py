"""Live events: what subscriptions tell, written by triggers so that nothing can forget it."""

from tortoise import migrations
from tortoise.migrations import operations as ops

TABLES = [
    # Ids become visible out of order, transactions by snapshot do not: see aether/live/cursors.py.
    """CREATE TABLE live_event (
         tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
         id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
         kind text NOT NULL,
         row_id bigint NOT NULL,
         execution_id bigint,
         about jsonb NOT NULL,
         created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
         PRIMARY KEY (tx, id))""",
    """CREATE INDEX live_event_text ON live_event (execution_id, tx, id) WHERE kind = 'text'""",
    """CREATE TABLE live_state (
         id int PRIMARY KEY DEFAULT 1 CHECK (id = 1),
         epoch text NOT NULL DEFAULT left(md5(gen_random_uuid()::text), 12),
         pruned xid8,
         listened_until timestamptz)""",
    "INSERT INTO live_state DEFAULT VALUES",
]

# A commit that notifies waits for every other one that does (PreCommit_Notify), so nobody is
# notified while nobody listens.
TELL = """CREATE FUNCTION tell_live(kind text, row_id bigint, execution_id bigint, about jsonb)
  RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO live_event (kind, row_id, execution_id, about)
    VALUES (kind, row_id, execution_id, about);
    IF EXISTS (SELECT FROM live_state AS state WHERE state.listened_until > clock_timestamp()) THEN
      PERFORM pg_notify('aether_live', '');
    END IF;
  END $$"""

ABOUT = {
    "delivery": (
        "'delivery', NEW.id, NULL",
        """'source', NEW.source, 'project_id', NEW.project_id, 'status', NEW.status,
           'canonical_triggers', NEW.canonical_triggers""",
    ),
    "task_execution": (
        "'execution', NEW.id, NEW.id",
        """'status', NEW.status, 'run', NEW.run, 'tries', NEW.tries, 'token', NEW.lease_token,
           'project_id', NEW.project_id, 'task_id', NEW.task_id, 'agent_id', NEW.agent_id,
           'cancel_requested', NEW.cancel_requested, 'error', NEW.error,
           'error_code', NEW.error_code""",
    ),
    "execution_message": (
        "'message', NEW.id, NEW.execution_id",
        "'run', NEW.run, 'position', NEW.position",
    ),
    "tool_execution": (
        "'tool', NEW.id, NEW.execution_id",
        "'run', NEW.run, 'round', NEW.round",
    ),
    "watchdog_entry": (
        "'watchdog', NEW.id, NULL",
        "'level', NEW.level, 'component', NEW.component",
    ),
}

TRIGGERS = [
    ("delivery", "told", "AFTER INSERT", ""),
    # a redelivery routes it; what the same transaction takes back is in the row already
    (
        "delivery",
        "routed",
        "AFTER UPDATE OF status",
        "WHEN (OLD.status = 'ignored' AND NEW.status = 'routed')",
    ),
    ("task_execution", "told", "AFTER INSERT", ""),
    # not at each renewal of a lease, which is the most frequent statement of all
    (
        "task_execution",
        "changed",
        "AFTER UPDATE",
        """WHEN ((OLD.status, OLD.run, OLD.tries, OLD.lease_token, OLD.agent_id,
                  OLD.cancel_requested)
            IS DISTINCT FROM (NEW.status, NEW.run, NEW.tries, NEW.lease_token, NEW.agent_id,
                  NEW.cancel_requested))""",
    ),
    (
        "execution_message",
        "told",
        "AFTER INSERT",
        "WHEN (NEW.message->>'role' = 'assistant')",
    ),
    ("tool_execution", "told", "AFTER INSERT", ""),
    ("watchdog_entry", "told", "AFTER INSERT", ""),
]


def _function(table: str, what: str, about: str) -> str:
    return f"""CREATE FUNCTION tell_live_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM tell_live({what}, jsonb_build_object({about}));
        RETURN NULL;
      END $$"""


def _trigger(table: str, name: str, when: str, condition: str) -> str:
    return f"""CREATE TRIGGER {table}_{name}_live {when} ON {table} FOR EACH ROW {condition}
      EXECUTE FUNCTION tell_live_of_{table}()"""


class Migration(migrations.Migration):
    dependencies = [("aether", "0002_postgres")]

    operations = [
        ops.RunSQL(
            [
                *TABLES,
                TELL,
                *(_function(table, *told) for table, told in ABOUT.items()),
                *(_trigger(*one) for one in TRIGGERS),
            ]
        )
    ]
