"""Tool calls of chats, which belong to no execution and are told to nobody who follows one."""

from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("aether", "0014_guard")]

    initial = False

    operations = [
        ops.AlterModelOptions(
            name="ToolExecution",
            options={
                "table": "tool_execution",
                "app": "aether",
                "unique_together": [("execution_id", "run", "round", "call_id")],
                "indexes": [
                    Index(fields=["agent_id", "id"]),
                    Index(fields=["tool", "id"]),
                    Index(fields=["status", "id"]),
                ],
                "pk_attr": "id",
                "table_description": "Our running of one tool call, of a run or of a chat.",
            },
        ),
        ops.AlterField(
            model_name="ToolExecution",
            name="execution_id",
            field=fields.BigIntField(null=True),
        ),
        ops.RunSQL(
            [
                "DROP TRIGGER tool_execution_told_live ON tool_execution",
                """CREATE TRIGGER tool_execution_told_live AFTER INSERT ON tool_execution
                   FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL)
                   EXECUTE FUNCTION tell_live_of_tool_execution()""",
            ]
        ),
    ]
