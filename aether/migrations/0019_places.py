from tortoise import migrations
from tortoise.migrations import operations as ops

# An agent's own keys were apart by the project's name alone, which two platforms, or two sites of
# one, may both have. Where the execution that stored a memory, or its project, tells which it was,
# that stands in the key space from now on, as ``Visibility.key_space`` puts it. A hash, which stands
# there for a name that is too long, cannot be made anew here and stays.
PLACED = """
UPDATE memory AS m SET key_space = told.key_space
FROM (
  SELECT one.id, regexp_replace(one.key_space, '^agent:([^:]*):', 'agent:\\1:' ||
      coalesce(e.source, p.source) || ':' ||
      CASE WHEN coalesce(e.site, '') = '' THEN '' ELSE e.site || ':' END) AS key_space
  FROM memory one
    LEFT JOIN task_execution e ON e.id = one.execution_id
    LEFT JOIN project p ON p.id = one.project_id
  WHERE one.key_space LIKE 'agent:%:%' AND one.key_space !~ '^agent:[0-9a-f]{64}(:|$)'
    AND coalesce(e.source, p.source) IS NOT NULL
) AS told
WHERE told.id = m.id
  AND length(regexp_replace(told.key_space, ':' || coalesce(m.execution_id, 0) || '$', '')) <= 170
"""


class Migration(migrations.Migration):
    dependencies = [("aether", "0018_prices")]

    initial = False

    operations = [ops.RunSQL(PLACED)]
