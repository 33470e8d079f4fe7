"""What is to be done (task definitions), and each time it is done (task executions)."""

from tortoise import fields
from tortoise.models import Model

from aether.vocabulary import AnswerMode, ExecutionStatus, SourceName, ToolReach


def default_memory_scopes() -> list[str]:
    """Where a task's agent may store and look, unless the task permits wider scopes."""
    return ["task", "project"]


class TaskDefinition(Model):
    """A unit of work that a canonical trigger starts."""

    id = fields.CharField(64, primary_key=True)  # the caller chooses it: "pm_analyze"
    name = fields.CharField(200)
    description = fields.TextField()  # what to do, in the system prompt
    actor_id = fields.CharField(64)  # an agent's id; may name nothing, see fallback_prompt
    fallback_prompt = fields.TextField(null=True)  # system prompt where there is no agent
    required_capabilities = fields.JSONField[list[str]](default=list)
    tools = fields.JSONField[list[str] | None](null=True)  # names allowed; null: all
    tool_reach = fields.CharEnumField(ToolReach, max_length=8, default=ToolReach.ITEM)
    memory_scopes = fields.JSONField[list[str]](default=default_memory_scopes)
    max_tool_rounds = fields.IntField(null=True)  # null: LLM_MAX_TOOL_ROUNDS
    timeout_seconds = fields.IntField(null=True)  # null: RUN_TIMEOUT_SECONDS
    answer_mode = fields.CharEnumField(
        AnswerMode, max_length=8, default=AnswerMode.ADD, db_default=AnswerMode.ADD
    )
    # a person sees the answer first
    approve_answer = fields.BooleanField(default=False, db_default=False)
    # whose calls a person sees first
    approve_tools = fields.JSONField[list[str]](default=list, db_default=[])
    approval_timeout_minutes = fields.IntField(null=True)  # null: APPROVAL_TIMEOUT_MINUTES
    # a run ends when its item is closed
    cancel_on_close = fields.BooleanField(default=False, db_default=False)
    # ... or a newer event starts the task
    cancel_on_newer = fields.BooleanField(default=False, db_default=False)
    # tools that write, woken by a stranger
    outsiders_may_act = fields.BooleanField(default=False, db_default=False)
    # remember a summary of each run
    summarize = fields.BooleanField(default=False, db_default=False)
    max_tokens_per_run = fields.BigIntField(null=True)  # null: no bound
    max_cost_usd_per_run = fields.FloatField(null=True)
    max_runs_per_item_hour = fields.IntField(null=True)
    enabled = fields.BooleanField(default=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    updated_at = fields.DatetimeField(auto_now=True)

    class Meta:
        table = "task_definition"
        ordering = ["created_at", "id"]


class TaskExecution(Model):
    """One run of one task definition for one delivery; history, so without foreign keys."""

    id = fields.BigIntField(primary_key=True)
    delivery_id = fields.BigIntField()
    task_id = fields.CharField(64)
    canonical_trigger = fields.CharField(100)
    source = fields.CharEnumField(SourceName, max_length=16)
    site = fields.CharField(300, default="", db_default="")  # empty: the environment's own
    project_id = fields.IntField(null=True)
    project_key = fields.CharField(400, default="")  # the source's word for the project
    item_kind = fields.CharField(16, null=True)
    item_key = fields.CharField(100, null=True)
    by_bot = fields.BooleanField(default=False)  # a bot's act woke it
    status = fields.CharEnumField(ExecutionStatus, max_length=20, default=ExecutionStatus.QUEUED)
    agent_id = fields.CharField(64, null=True)  # null: the fallback prompt spoke, or not yet begun
    agent_reason = fields.TextField(null=True)  # why this agent
    model = fields.CharField(200, null=True)
    run = fields.IntField(default=1)  # which run this is; a restart begins the next
    tries = fields.IntField(default=0)  # failures in this run
    lease_token = fields.BigIntField(default=0)  # grows with each claim; fences every write
    lease_until = fields.DatetimeField(null=True)
    run_after = fields.DatetimeField(null=True)  # not before; null: now
    enqueued_at = fields.DatetimeField(null=True)  # when a hint was last sent
    cancel_requested = fields.BooleanField(default=False)
    error = fields.TextField(null=True)
    error_code = fields.CharField(32, null=True)
    answer = fields.TextField(null=True)  # the whole closing text, however much was posted
    answer_url = fields.TextField(null=True)
    llm_calls = fields.IntField(default=0)
    tool_calls = fields.IntField(default=0)
    prompt_tokens = fields.BigIntField(default=0)
    completion_tokens = fields.BigIntField(default=0)
    cost_usd = fields.DecimalField(16, 8, default=0)
    unpriced_calls = fields.IntField(default=0, db_default=0)  # not in the cost
    created_at = fields.DatetimeField(auto_now_add=True)
    started_at = fields.DatetimeField(null=True)
    finished_at = fields.DatetimeField(null=True)
    summary_tries = fields.IntField(null=True)  # null: no summary is wanted, or it is there

    class Meta:
        table = "task_execution"
        unique_together = [("delivery_id", "task_id")]
        indexes = [
            ("task_id", "id"),
            ("agent_id", "id"),
            ("project_id", "id"),
            ("status", "id"),
        ]
        ordering = ["-id"]


class ExecutionMessage(Model):
    """One message of a run's conversation with the model, stored before anything follows from it.

    Position 0 is the system prompt. A crash resumes after the last stored message.
    """

    id = fields.BigIntField(primary_key=True)
    execution_id = fields.BigIntField()
    run = fields.IntField()
    position = fields.IntField()
    message = fields.JSONField[dict[str, object]]()  # OpenAI's chat form
    model = fields.CharField(200, null=True)
    prompt_tokens = fields.BigIntField(default=0)
    completion_tokens = fields.BigIntField(default=0)
    cost_usd = fields.DecimalField(16, 8, default=0)
    unpriced = fields.BooleanField(default=False, db_default=False)  # its price was not known
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "execution_message"
        unique_together = [("execution_id", "run", "position")]
        ordering = ["execution_id", "run", "position"]
