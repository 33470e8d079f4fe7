"""What models were asked for, by day; and which limits have been warned about."""

from tortoise import fields
from tortoise.models import Model


class UsageDay(Model):
    """One day's sums, in UTC, for one agent, task, project and model; history."""

    id = fields.BigIntField(primary_key=True)
    day = fields.DateField()
    agent_id = fields.CharField(64, null=True)
    task_id = fields.CharField(64, null=True)  # null: a chat
    project_id = fields.IntField(null=True)
    model = fields.CharField(200)
    llm_calls = fields.BigIntField(default=0)
    prompt_tokens = fields.BigIntField(default=0)
    completion_tokens = fields.BigIntField(default=0)
    cost_usd = fields.DecimalField(20, 8, default=0)
    # of the calls: whose price was not known, so that the cost is without them
    unpriced_calls = fields.BigIntField(default=0, db_default=0)
    # of the calls: whose tokens the provider did not tell, so that we counted them
    estimated_calls = fields.BigIntField(default=0, db_default=0)

    class Meta:
        table = "usage_day"  # unique over its five names, nulls too: migration 0010
        indexes = [("agent_id", "day"), ("project_id", "day"), ("day",)]
        ordering = ["day", "id"]


class LimitNotice(Model):
    """A limit that has been warned about, or reached, in one period: told once."""

    id = fields.BigIntField(primary_key=True)
    of = fields.CharField(200)  # "agent pm_sarah"
    limit = fields.CharField(64)  # the field's name
    period = fields.CharField(64)  # a day, a month, or an execution's run; then the bound
    level = fields.CharField(8)  # near, reached, unpriced
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "limit_notice"
        unique_together = [("of", "limit", "period", "level")]
        indexes = [("created_at",)]
        ordering = ["id"]
