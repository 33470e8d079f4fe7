"""A GitLab on loopback: REST API v4 over a state in memory, its refusals, its webhooks.

Strict: unknown fields, wrong types and missing rights are refused in GitLab's own words, and a
line of a note that begins with a quick action is done and not shown.
https://docs.gitlab.com/api/rest/ , https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aether.demo.faults import Call, Door, Faults
from tests.sources.gitlab.api import Api, Ask, RefusedError, Token
from tests.sources.gitlab.hooks import Hook, Hooks, SentWebhook
from tests.sources.gitlab.state import Json, User


class GitLabStandIn(Api):
    """GitLab below ``prefix`` of its host; serve ``app``.

    Anyone without a known token is answered 401. ``faults`` arranges failures.
    """

    def __init__(self, *, prefix: str = "", keeps_one_assignee: bool = False) -> None:
        super().__init__(
            f"https://gitlab.example.com{prefix}", keeps_one_assignee=keeps_one_assignee
        )
        self.prefix = prefix
        self.faults = Faults()
        self._hooks = Hooks()
        self._door = Door(self._serve, self.faults)

    @property
    def app(self) -> ASGIApp:
        return self._door

    @property
    def calls(self) -> list[Call]:
        return self._door.calls

    @property
    def webhooks(self) -> list[SentWebhook]:
        return self._hooks.sent

    def accept(
        self, token: str, username: str, *, bot: bool = False, scopes: Sequence[str] = ("api",)
    ) -> User:
        """Let ``token`` in as ``username``."""
        user = self.add_user(username, bot=bot)
        self.tokens[token] = Token(user=user, scopes=tuple(scopes))
        return user

    def limit_rate(self, token: str, *, remaining: int, resets_in: float) -> None:
        """Leave ``token`` that many calls until ``resets_in`` seconds have passed."""
        self.tokens[token].remaining = remaining
        self.tokens[token].reset_at = time.time() + resets_in

    def hook(self, url: str, **told: Any) -> None:
        """From now on send webhooks for what happens."""
        self._hooks.add(Hook(url=url, **told))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        request = Request(scope, receive)
        body = await request.body()
        rate: dict[str, str] = {}
        try:
            with self.lock:
                token = self._authenticated(request)
                rate = self._counted(token)
                status, told, headers = self._answered(request, body, token)
        except RefusedError as refused:
            status, told, headers = refused.status, refused.body, refused.headers
        plain = isinstance(told, str)
        content = told if plain else json.dumps(told, ensure_ascii=False)
        media = "text/plain" if plain else "application/json"
        await Response(content, status, {**rate, **headers}, media)(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._hooks.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _authenticated(self, request: Request) -> Token:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        told = request.headers.get("private-token") or (
            bearer if scheme.lower() == "bearer" else ""
        )
        token = self.tokens.get(told)
        if token is None:
            raise RefusedError(401, {"message": "401 Unauthorized"})
        needed = {"api"} if request.method not in {"GET", "HEAD"} else {"api", "read_api"}
        is_own = request.scope["path"].endswith(("/user", "/personal_access_tokens/self"))
        if not needed & set(token.scopes) and not is_own:
            raise RefusedError(403, {
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the "
                "access token.",
                "scope": "api",
            })  # fmt: skip
        return token

    def _counted(self, token: Token) -> dict[str, str]:
        now = time.time()
        if token.reset_at <= now:
            token.remaining, token.reset_at = 2000, now + 60
        token.remaining -= 1
        headers = {
            "RateLimit-Limit": "2000",
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Observed": str(2000 - max(token.remaining, 0)),
            "RateLimit-Remaining": str(max(token.remaining, 0)),
            "RateLimit-Reset": str(int(token.reset_at)),
        }
        if token.remaining < 0:
            wait = {"Retry-After": str(max(int(token.reset_at - now), 1))}
            raise RefusedError(429, "Retry later\n", headers | wait)
        return headers

    def _answered(
        self, request: Request, body: bytes, token: Token
    ) -> tuple[int, Any, Mapping[str, str]]:
        raw = request.scope["raw_path"].decode("ascii")
        api = f"{self.prefix}/api/v4/"
        if not raw.startswith(api):
            raise RefusedError(404, "<!DOCTYPE html><title>404</title>")
        for method, pattern, do in self.routes:
            found = pattern.fullmatch(raw.removeprefix(api))
            if found is not None and method == request.method:
                ask = Ask(
                    user=token.user,
                    parts=[unquote(part) for part in found.groups()],
                    query=dict(request.query_params),
                    fields=_parsed(body),
                    url=str(request.url).partition("?")[0],
                )
                answer = do(ask)
                self._hooks.send(ask.told, self.url)
                return answer if len(answer) == 3 else (*answer, {})
        raise RefusedError(404, {"error": "404 Not Found"})


def _parsed(body: bytes) -> Json:
    if not body:
        return {}
    try:
        told = json.loads(body)
    except ValueError:
        raise RefusedError(400, {"error": "The JSON object is invalid"}) from None
    if not isinstance(told, dict):
        raise RefusedError(400, {"error": "The body must be an object"})
    return told
