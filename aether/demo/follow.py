"""What is new in an agent's work since the last look, from what the REST API shows of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aether.demo.story import one_line
from aether.vocabulary import ExecutionStatus

Json = dict[str, Any]

ENDED: Final = frozenset(
    {ExecutionStatus.SUCCEEDED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
)
ARGUMENTS_LIMIT: Final = 110
RESULT_LIMIT: Final = 150


@dataclass(frozen=True, kw_only=True)
class News:
    """One thing that happened: ``what`` in a word, the rest in words, and what it took."""

    what: str
    text: str
    took: str = ""


class Progress:
    """One execution's work as told so far."""

    def __init__(self) -> None:
        self._status = ""
        self._messages = 0
        self._results = 0

    def news(self, execution: Json, tool_executions: Sequence[Json]) -> Iterator[News]:
        """What is new.

        Args:
            execution: of ``GET /api/task-executions/{id}``, with its messages.
            tool_executions: of ``GET /api/tool-executions?execution_id=``, read after it.
        """
        status = str(execution["status"])
        if status != self._status and status not in ENDED and _can_be_told(execution):
            self._status = status
            yield News(what=status, text=_status_text(execution))
        oldest_first = sorted(tool_executions, key=lambda one: int(one["id"]))
        messages: list[Json] = execution["messages"]
        for told in messages[self._messages :]:
            self._messages += 1
            role = told["message"].get("role")
            if role == "assistant":
                yield _reply(told)
            elif role == "tool":
                yield _result(oldest_first[self._results])
                self._results += 1
        if status != self._status:
            self._status = status
            yield News(what=status, text=_end(execution), took=_total(execution["usage"]))


def is_over(execution: Json) -> bool:
    """Whether nothing more will come of it by itself."""
    return execution["status"] in ENDED


def arguments_text(arguments: Any) -> str:
    """A tool call's arguments as a person would write them: ``labels=["bug"], limit=20``."""
    if not isinstance(arguments, Mapping):
        return one_line(json.dumps(arguments, ensure_ascii=False), ARGUMENTS_LIMIT)
    told = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
    return one_line(", ".join(told), ARGUMENTS_LIMIT)


def _can_be_told(execution: Json) -> bool:
    """A run says why its agent has it a moment after it began."""
    return bool(execution["status"] != ExecutionStatus.RUNNING or execution["agent_reason"])


def _status_text(execution: Json) -> str:
    reasons = {
        ExecutionStatus.QUEUED: f"task {execution['task_id']}",
        ExecutionStatus.RUNNING: str(execution["agent_reason"]),
        ExecutionStatus.RETRYING: f"tried again soon: {execution['error']}",
    }
    return one_line(reasons.get(ExecutionStatus(execution["status"]), ""))


def _reply(told: Json) -> News:
    calls = told["message"].get("tool_calls") or []
    text = str(told["message"].get("content") or "")
    names = ", ".join(str(one["function"]["name"]) for one in calls)
    said = f"asks for {names}" if names else f"answers with {len(text):,} characters"
    tokens = f"{told['prompt_tokens']:,} + {told['completion_tokens']:,} tokens"
    return News(what="model", text=one_line(said), took=tokens)


def _result(one: Json) -> News:
    came = one["error"] or one["result"] or ""
    call = f"{one['tool']}({arguments_text(one['arguments'])})"
    verdict = "" if one["status"] == "succeeded" else f"{one['status']}: "
    return News(
        what="tool",
        text=f"{call} → {verdict}{one_line(str(came), RESULT_LIMIT)}",
        took=f"{one['duration_ms']} ms",
    )


def _end(execution: Json) -> str:
    if execution["status"] == ExecutionStatus.SUCCEEDED:
        return "comment posted" if execution["answer_url"] else "answered"
    return one_line(str(execution["error"] or ""))


def _total(usage: Json) -> str:
    return f"{usage['llm_calls']} calls, {usage['total_tokens']:,} tokens"
