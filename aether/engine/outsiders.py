"""Who is no part of a project, as far as its platform tells, and so gives no orders in it.

GitHub tells it of whoever writes (``author_association``). GitLab and Jira tell it of two kinds of
accounts: Service Desk's, which speaks for anybody who sends a mail, and a customer's of Jira
Service Management; their sources call them NONE. Plane tells nothing. Who is not told of is no
outsider: labelling, closing or assigning needs rights that no stranger has. Pushing to a fork needs
none: GitHub's source says so of whoever does.
"""

from aether.events import Actor, SourceEvent
from aether.models import TaskDefinition
from aether.vocabulary import INSIDERS


def is_outsider(actor: Actor | None) -> bool:
    """Whether the platform says that this person or program stands outside the project."""
    return actor is not None and bool(actor.association) and actor.association not in INSIDERS


def why_held_back(event: SourceEvent, task: TaskDefinition) -> str | None:
    """Why a run of ``task`` that ``event`` wakes may not write; None: it may.

    A replay keeps the actor of the delivery that it repeats. A poll that sees only that an item has
    changed does not see who changed it: then the item's author counts, who may have.
    """
    if task.outsiders_may_act:
        return None
    who, somebody = "an outsider woke this run", event.actor
    if somebody is None and event.subject is not None:
        who = "nobody knows who woke this run, and the item is an outsider's"
        told = event.subject.author_association
        somebody = Actor(login=event.subject.author or "", association=told)
    if somebody is None or not is_outsider(somebody):
        return None
    return (
        f"{who} (association {str(somebody.association)[:40]}), and task {task.id} does not let "
        "outsiders act"
    )
