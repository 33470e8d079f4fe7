from tortoise import fields, migrations
from tortoise.migrations import operations as ops

TRUNCATING = [
    """CREATE FUNCTION refuse_audit_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF current_setting('aether.prune', true) = 'on' THEN
           RETURN NULL;
         END IF;
         RAISE EXCEPTION 'audit_entry is append-only';
       END $$""",
    """CREATE TRIGGER audit_entry_not_truncated BEFORE TRUNCATE ON audit_entry
       FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_truncate()""",
]

APPROVALS = [
    """CREATE FUNCTION tell_live_of_approval() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         PERFORM tell_live('approval', NEW.id, NEW.execution_id, jsonb_build_object(
           'status', NEW.status, 'kind', NEW.kind, 'tool', NEW.tool, 'agent_id', NEW.agent_id,
           'task_id', NEW.task_id, 'project_id', NEW.project_id));
         RETURN NULL;
       END $$""",
    """CREATE TRIGGER approval_told_live AFTER INSERT ON approval
       FOR EACH ROW EXECUTE FUNCTION tell_live_of_approval()""",
    """CREATE TRIGGER approval_changed_live AFTER UPDATE ON approval
       FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
       EXECUTE FUNCTION tell_live_of_approval()""",
]


class Migration(migrations.Migration):
    dependencies = [("aether", "0013_answers")]

    initial = False

    operations = [
        ops.AddField(
            model_name="AuditEntry",
            name="origin",
            field=fields.CharField(max_length=200, null=True),
        ),
        ops.RunSQL([*TRUNCATING, *APPROVALS]),
    ]
