"""The demo's story: an issue about double charges, and what two agents make of it.

Everything a newcomer reads first is written here: the issue, the answers, what is remembered.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aether.demo.github import Account, GitHubStandIn, signed_delivery
from aether.demo.github_shapes import GITHUB, Addresses
from aether.demo.model import ChatRequest, Reply, ScriptedModel, ToolCallScript

REPOSITORY: Final = "acme/checkout-service"
ISSUE_NUMBER: Final = 482
ISSUE_AUTHOR: Final = "mia-ops"
BOT: Final = Account("aether[bot]", "Bot")
COLLABORATORS: Final = ("mia-ops", "jo-dev", "sam-payments")

ISSUE_TITLE: Final = "Customer is charged twice when the payment request is retried"
ISSUE_BODY: Final = """\
**What happened**

Since Tuesday's release (`checkout-service` 4.18.0) we see orders with two captured charges. \
Support has 23 tickets so far, all from customers whose first attempt ran into the payment \
provider's slow phase around 09:00 UTC.

**Steps to reproduce**

1. Put anything into the basket and choose card payment.
2. Let the provider's sandbox answer `POST /charges` after more than 5 s \
(test card ending in 0341 does that).
3. Wait. The browser shows one confirmation, the provider's dashboard shows two captures.

**Expected**

One order, one charge, however often we retry.

**Log of order 80113** (shortened)

```
09:02:11.402 INFO  payment  order=80113 attempt=1 POST /charges key=9f1c2a77
09:02:16.405 WARN  payment  order=80113 attempt=1 timeout after 5000 ms
09:02:16.611 INFO  payment  order=80113 attempt=2 POST /charges key=e07b54d1
09:02:17.038 INFO  payment  order=80113 attempt=2 201 Created charge=ch_5521
09:02:18.990 INFO  webhook  charge.captured charge=ch_5520 order=80113
09:02:19.204 INFO  webhook  charge.captured charge=ch_5521 order=80113
```

**Impact**

EUR 1,912 over-charged so far. Support refunds by hand. 4.17.2 did not do this.
"""

LABELS: Final = ("bug", "payments", "priority: critical")

TRIAGE: Final = """\
### Triage

**Bug, critical.** Customers lose money, it goes on, and it started with a known release. \
I have labelled the issue accordingly.

| | |
|---|---|
| Who is hit | Card customers whose first request outlasts our 5 s time-out |
| How many | 23 tickets, EUR 1,912 over-charged at the time of the report |
| Since when | 4.18.0 (Tuesday); 4.17.2 is reported to be free of it |
| Way around | None for the customer. Support refunds by hand |

**What we promise, restated as acceptance criteria**

1. An order never has more than one captured charge, however many attempts it took.
2. When the provider answers late, the customer sees *one* outcome: paid, or not paid.
3. Every order that was charged twice since 4.18.0 is found and refunded.

**Proposed next steps**

- [ ] Decide within the hour whether to roll back to 4.17.2. I recommend it: the fault costs \
money with each slow phase of the provider, and a rollback loses nothing the customers see.
- [ ] Fix and a regression test for the slow answer (see the technical analysis in this thread).
- [ ] List of all orders with two captures since the release, for support.
- [ ] A note for the status page; support needs two sentences it can send.

**Open questions**

- For mia-ops: is there any case where the *first* attempt was answered in time? That would \
contradict the picture above.
- Does the retry concern other payment methods, or cards only?
"""

ANALYSIS: Final = """\
### Technical analysis

**Most likely cause: each attempt gets a new idempotency key.** The log shows it in two lines:

```
attempt=1 POST /charges key=9f1c2a77      <- timed out on our side, went through on theirs
attempt=2 POST /charges key=e07b54d1      <- a different key, so a second charge
```

A time-out tells us that *we* stopped waiting, not that the provider stopped working. The first \
charge (`ch_5520`) was captured at 09:02:18, more than seven seconds after it was asked for. With \
the same key, the second request would have returned that charge. With a new key it is a second \
payment.

**Where to look.** Whatever changed between 4.17.2 and 4.18.0 in the place that makes the key: it \
has to be made once per payment, outside of the retry loop, and stored before the first request \
leaves. I have not seen the code, so this is a reading of the log and needs checking there.

**Suggested change**

1. Create the key with the payment row, in the same transaction, and read it from there on every \
attempt. That also covers a process that dies between two attempts.
2. Treat a time-out as *unknown*. Before charging again, ask the provider for the charge by its \
key.
3. Let the database refuse the second capture: one captured charge per order, as a unique index.

**How to test it**

- A provider stub that commits and then does not answer: two attempts, the same key, one charge.
- Kill the process between attempt 1 and 2, restart: still the same key.
- A `charge.captured` webhook for an order that has one already: alarm, no state change.

**Effort and risk.** Small: about a day with tests. Step 3 wants the doubled rows cleaned up \
first, or the index cannot be built. Until the fix is out, setting the retry count to 1 stops \
new double charges at the price of some failed payments.
"""

MEMORY_KEY: Final = "payment_retry_idempotency"
MEMORY: Final = (
    "checkout-service: a payment time-out is an unknown outcome, not a failure. The idempotency "
    "key must be made once per payment and reused on every attempt. Release 4.18.0 made a new "
    f"key per attempt and charged customers twice (issue #{ISSUE_NUMBER})."
)

GENERIC: Final = """\
I have read this and have nothing to add that would help.

*This answer comes from the demo's scripted model, which knows one story only. Set `LLM_MODEL`, \
or `LLM_BASE_URL` and `LLM_API_KEY`, to let a real model answer.*
"""


@dataclass(frozen=True)
class Part:
    """What one agent does in the story: rounds of tool calls, then an answer."""

    name: str
    rounds: Sequence[Sequence[ToolCallScript]]
    answer: str


SARAH: Final = Part(
    "Sarah",
    (
        (ToolCallScript("get_issue"), ToolCallScript("list_comments", {"limit": 20})),
        (ToolCallScript("add_labels", {"labels": list(LABELS)}),),
    ),
    TRIAGE,
)
LEO: Final = Part(
    "Leo",
    (
        (
            ToolCallScript("recall", {"query": "payment retry idempotency time-out"}),
            ToolCallScript("list_comments", {"limit": 20}),
        ),
        (ToolCallScript("remember", {"key": MEMORY_KEY, "content": MEMORY, "scope": "project"}),),
    ),
    ANALYSIS,
)
CAST: Final = (SARAH, LEO)


def demo_model(key: str = "sk-demo", **settings: Any) -> ScriptedModel:
    """The model of the demo: plays Sarah's and Leo's part, and says so for anybody else."""
    model = ScriptedModel(Reply.text(GENERIC), key=key, **settings)
    for part in CAST:
        model.when(_plays(part), _script(part))
    return model


def demo_github(token: str) -> GitHubStandIn:
    """The GitHub of the demo: the issue is open, and ``token`` writes as aether[bot]."""
    github = GitHubStandIn({token: BOT})
    github.add_repository(REPOSITORY, collaborators=COLLABORATORS)
    github.add_issue(
        REPOSITORY, ISSUE_NUMBER, ISSUE_TITLE, ISSUE_BODY, ISSUE_AUTHOR, association="COLLABORATOR"
    )
    return github


def opening_delivery(
    github: GitHubStandIn,
    secret: str,
    *,
    delivery_id: str | None = None,
    addresses: Addresses = GITHUB,
) -> tuple[dict[str, str], bytes]:
    """The signed ``issues``/``opened`` delivery of the demo's issue: headers and body.

    Give ``Addresses(base_url, base_url)`` of the served stand-in to have its links lead there.
    """
    payload = github.opened_payload(REPOSITORY, ISSUE_NUMBER, addresses)
    return signed_delivery("issues", payload, secret, delivery_id)


def _plays(part: Part) -> Callable[[ChatRequest], bool]:
    def plays(request: ChatRequest) -> bool:
        return _speaker(request.system) == part.name and ISSUE_TITLE in request.user

    return plays


def _speaker(system: str) -> str | None:
    """Whose prompt this is: the first of the names in it, as a prompt may mention colleagues."""
    names = "|".join(part.name for part in CAST)
    found = re.search(rf"\b(?:{names})\b", system)
    return found.group() if found else None


def _script(part: Part) -> Callable[[ChatRequest], Reply]:
    """Rounds of the tools that are on offer; what is not on offer is not called."""

    def reply(request: ChatRequest) -> Reply:
        offered = set(request.tools)
        rounds = [[call for call in calls if call.name in offered] for calls in part.rounds]
        left = [calls for calls in rounds if calls][request.turn :]
        return Reply.calls(*left[0]) if left else Reply.text(part.answer)

    return reply
