"""A GitHub on loopback for tests and the demo: its REST API, its faults, its webhooks."""

import hashlib
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aether.demo import github_rules as rules
from aether.demo.faults import Call, Door, Faults
from aether.demo.github_ask import Answer, Ask, Handler
from aether.demo.github_hooks import Hook, Hooks, SentWebhook
from aether.demo.github_payloads import (
    deployment_status_payload,
    is_signed,
    issue_comment_payload,
    issue_opened_payload,
    issue_payload,
    pull_request_payload,
    signed_delivery,
)
from aether.demo.github_routes import ROUTES
from aether.demo.github_rules import RefusedError
from aether.demo.github_shapes import GITHUB, Addresses, Json
from aether.demo.github_state import (
    Account,
    AccountType,
    Comment,
    Issue,
    Pull,
    PullFile,
    Repository,
    State,
    new_issue,
)

__all__ = [
    "Account",
    "Addresses",
    "Call",
    "Comment",
    "GitHubStandIn",
    "Hook",
    "Issue",
    "PullFile",
    "Repository",
    "SentWebhook",
    "deployment_status_payload",
    "is_signed",
    "issue_comment_payload",
    "issue_opened_payload",
    "pull_request_payload",
    "signed_delivery",
]

API_VERSIONS: Final = ("2022-11-28", "2026-03-10")
_WINDOW_SECONDS: Final = 3600.0
_JSON: Final = "application/json; charset=utf-8"


@dataclass(kw_only=True)
class _Token:
    """Who a token speaks for, and what is left of its hour."""

    account: Account
    writes: bool = True
    limit: int = 5000
    used: int = 0
    reset_at: float = 0.0  # epoch seconds

    def count(self, now: float) -> bool:
        """Count one call; False when the limit was already reached."""
        if now >= self.reset_at:
            self.used, self.reset_at = 0, now + _WINDOW_SECONDS
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def headers(self) -> dict[str, str]:
        # https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.limit - self.used),
            "x-ratelimit-used": str(self.used),
            "x-ratelimit-reset": str(math.ceil(self.reset_at)),
            "x-ratelimit-resource": "core",
        }


class GitHubStandIn:
    """GitHub's REST API over a state in memory.

    Serve ``app`` with ``serving``. Every method and property may be called from any thread while
    it is served. Anyone without a known token is answered 401; the token decides who writes.
    ``faults`` arranges failures (``fail_next`` and the like are its methods).
    """

    def __init__(self, tokens: Mapping[str, str | Account] | None = None) -> None:
        """``tokens``: token to account, or to the login of a person."""
        self._lock = threading.RLock()
        self._state = State()
        self._tokens: dict[str, _Token] = {}
        self._hooks = Hooks()
        self.faults = Faults()
        self.fail_next = self.faults.fail_next
        self.drop_next = self.faults.drop_next
        self.drop_after_commit_next = self.faults.drop_after_commit_next
        self.delay_next = self.faults.delay_next
        for token, who in (tokens or {}).items():
            account = Account(who) if isinstance(who, str) else who
            self.accept(token, account.login, account.type)
        self._door = Door(self._starlette(), self.faults)

    @property
    def app(self) -> ASGIApp:
        """The ASGI application to serve."""
        return self._door

    @property
    def calls(self) -> list[Call]:
        """Every API request so far, refused and broken ones included, in order of arrival."""
        return self._door.calls

    @property
    def webhooks(self) -> list[SentWebhook]:
        """Every delivery that a hook of ours sent or is sending."""
        return self._hooks.sent

    @property
    def repositories(self) -> dict[str, Repository]:
        """By full name. The objects are the live ones: a test may change them."""
        with self._lock:
            return dict(self._state.repositories)

    def accept(
        self, token: str, login: str, type: AccountType = "User", *, writes: bool = True
    ) -> Account:
        """Let ``token`` in as ``login``; with ``writes`` false its writes are answered 403."""
        account = Account(login, type)
        with self._lock:
            self._tokens[token] = _Token(account=account, writes=writes)
        return account

    def revoke(self, token: str) -> None:
        """Answer 401 to ``token`` from now on."""
        with self._lock:
            self._tokens.pop(token, None)

    def limit_rate(self, token: str, *, remaining: int, resets_in: float) -> None:
        """Leave ``token`` that many calls until ``resets_in`` seconds have passed."""
        with self._lock:
            known = self._tokens[token]
            known.used = known.limit - remaining
            known.reset_at = time.time() + resets_in

    def add_repository(
        self, full_name: str, *, private: bool = False, collaborators: Iterable[str] = ()
    ) -> Repository:
        """The repository of that name, created if there is none."""
        with self._lock:
            repository = self._state.ensure(full_name)
            repository.private = private
            repository.collaborators.update(collaborators)
        return repository

    def add_issue(
        self,
        repo: str,
        number: int,
        title: str,
        body: str | None = None,
        author: str | Account = "octocat",
        *,
        id: int | None = None,
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
        association: str = "CONTRIBUTOR",
        pull: Pull | None = None,
    ) -> Issue:
        """Put an issue there, without a webhook; its repository is created if need be."""
        who = Account(author) if isinstance(author, str) else author
        with self._lock:
            repository = self._state.ensure(repo)
            if number in repository.issues:
                raise ValueError(f"number: {repo} has an item {number} already")
            issue = new_issue(
                repository.full_name,
                number,
                title,
                body,
                who,
                id=id,
                labels=[repository.label_name(name) for name in labels],
                assignees=assignees,
                association=association,
                pull=pull,
            )
            repository.issues[number] = issue
        return issue

    def add_pull(
        self,
        repo: str,
        number: int,
        title: str,
        body: str | None = None,
        author: str | Account = "octocat",
        *,
        files: Sequence[PullFile] = (),
        head: str = "changes",
        base: str = "main",
        draft: bool = False,
        id: int | None = None,
    ) -> Issue:
        """Put a pull request there, without a webhook."""
        pull = Pull(head=head, base=base, files=files, draft=draft)
        return self.add_issue(repo, number, title, body, author, id=id, pull=pull)

    def add_comment(
        self, repo: str, number: int, body: str, author: str | Account = "octocat"
    ) -> Comment:
        """Put a comment there, unchecked and without a webhook."""
        who = Account(author) if isinstance(author, str) else author
        with self._lock:
            return self._state.add_comment(self.issue(repo, number), body, who)

    def issue(self, repo: str, number: int) -> Issue:
        """The live issue or pull request; KeyError if there is none."""
        with self._lock:
            return self._state.repositories[repo].issues[number]

    def comments(self, repo: str, number: int) -> list[Comment]:
        """The comments of an item, oldest first."""
        with self._lock:
            return list(self.issue(repo, number).comments)

    def hook(self, url: str, secret: str | None, events: Collection[str] | None = None) -> Hook:
        """From now on send signed webhooks for what is written through the API."""
        return self._hooks.add(url, secret, events)

    def unhook(self, hook: Hook) -> None:
        """Send no more to ``hook``."""
        self._hooks.remove(hook)

    def opened_payload(self, repo: str, number: int, addresses: Addresses = GITHUB) -> Json:
        """The body of the ``issues``/``opened`` event of an issue that is here."""
        with self._lock:
            issue, repository = self.issue(repo, number), self._state.repositories[repo]
            return issue_payload("opened", repository, issue, issue.author, addresses)

    def _starlette(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await self._hooks.stop()

        routes = [Route(path, self._endpoint(do), methods=[verb]) for verb, path, do in ROUTES]
        handlers: dict[Any, Any] = {404: self._unknown_route, 405: self._unknown_route}
        starlette = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
        starlette.router.redirect_slashes = False  # GitHub knows no address with one at its end
        return starlette

    def _endpoint(self, do: Handler) -> Any:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            return self._respond(request, body, do)

        return endpoint

    async def _unknown_route(self, request: Request, _: Exception) -> Response:
        def refuse(_: Ask) -> Answer:
            raise rules.not_found()

        return self._respond(request, b"", refuse)

    def _respond(self, request: Request, body: bytes, do: Handler) -> Response:
        if not request.headers.get("user-agent"):
            return Response(rules.NO_USER_AGENT, 403, media_type="text/html")
        token: _Token | None = None
        with self._lock:
            try:
                token = self._authenticate(request)
                ask = self._ask(request, body, token)
                answer = do(ask)
                self._hooks.send(ask.told)
            except RefusedError as refused:
                answer = Answer(refused.status, refused.body)
            response = _response(request, answer, token.headers() if token else {})
            if response.status_code == 304 and token is not None:
                token.used -= 1  # "not modified" is free
        return response

    def _authenticate(self, request: Request) -> _Token:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        is_token = scheme.lower() in ("bearer", "token")
        token = self._tokens.get(value.strip()) if is_token else None
        if token is None:
            raise rules.bad_credentials(has_token=bool(value))
        return token

    def _ask(self, request: Request, body: bytes, token: _Token) -> Ask:
        version = request.headers.get("x-github-api-version", API_VERSIONS[0])
        if not token.count(time.time()):
            raise rules.rate_limited(token.account.id)
        if version not in API_VERSIONS:
            raise RefusedError(400, f"{version} is not a supported version of the REST API.")
        if request.method != "GET" and not token.writes:
            raise rules.read_only(token.account.type)
        base = str(request.base_url).rstrip("/")
        return Ask(
            state=self._state,
            account=token.account,
            path=request.path_params,
            query=dict(request.query_params),
            json=_parse(body),
            url=base + request.url.path,
            at=Addresses(base, base),
        )


def _parse(body: bytes) -> Any:
    if not body:
        return None
    try:
        told = json.loads(body)
        if b"\\ud" in body.lower():
            json.dumps(told, ensure_ascii=False).encode()  # half a character is no text
    except ValueError:
        raise RefusedError(400, "Problems parsing JSON") from None
    return told


def _response(request: Request, answer: Answer, rate: Mapping[str, str]) -> Response:
    headers = {
        "x-github-media-type": "github.v3; format=json",
        "x-github-api-version-selected": API_VERSIONS[0],
        **rate,
        **answer.headers,
    }
    if answer.json is None:
        return Response(None, answer.status, headers)
    body = json.dumps(answer.json, ensure_ascii=False, separators=(",", ":")).encode()
    if request.method == "GET" and answer.status == 200:
        headers["etag"] = f'W/"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(None, 304, headers)
    return Response(body, answer.status, headers, _JSON)
