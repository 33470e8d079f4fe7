"""Reads what a platform's HTTP answer says: to wait, where the next page is, what went wrong.

GitHub: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
Jira: https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
GitLab: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

MOST_LEVELS: Final = 5
"""How deep the words of a refusal are looked for; platforms nest them two or three deep."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, read whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """One answer to a read that may have been answered "as before".

    ``body`` is None when ``is_unchanged``. ``etag`` goes into the next ``fetch`` of the same path
    and query, None where the platform gives none. ``next_query`` is the whole query of the page
    that ``Link: rel="next"`` names, None on the last one. ``headers`` are in lower case.
    """

    body: Any
    etag: str | None = None
    is_unchanged: bool = False
    next_query: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """An answer that means "later". ``seconds`` is None where the host does not say when."""

    seconds: float | None
    is_exact: bool = False  # told as a duration, so that no clock needs to agree


def read_limit(answer: Answer, now: datetime) -> Limit | None:
    """What a 403 or 429 says about waiting; None for a refusal that will not pass."""
    status, headers = answer.status, answer.headers
    if status not in {403, 429}:
        return None
    seconds = retry_after(headers, now)
    if seconds is not None:
        return Limit(seconds=seconds, is_exact=True)
    remaining = headers.get("x-ratelimit-remaining", headers.get("ratelimit-remaining"))
    if remaining == "0" or (status == 429 and remaining is None):
        told = headers.get("x-ratelimit-reset", headers.get("ratelimit-reset"))
        return Limit(seconds=_until(told, now))
    # GitHub sends a secondary limit without headers, and calls the primary one the same way.
    message = platform_message(answer.body).lower()
    if status == 429 or "rate limit" in message or "abuse detection" in message:
        return Limit(seconds=None)
    return None


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of ``Retry-After``, which is a number or a date (RFC 9110, 10.2.3)."""
    told = headers.get("retry-after", "").strip()
    seconds = _number(told)
    if seconds is None and told:
        try:
            moment = parsedate_to_datetime(told)
        except (ValueError, OverflowError):  # the second for a zone of very many digits
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return None if seconds is None else max(seconds, 0.0)


def _until(told: str | None, now: datetime) -> float | None:
    """Seconds until a moment told in epoch seconds (GitHub, GitLab, Plane) or ISO 8601 (Jira)."""
    epoch = _number(told or "")
    if epoch is not None:
        return epoch - now.timestamp()
    try:
        moment = datetime.fromisoformat(told or "")
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def next_page(link: str) -> str | None:
    """The target of ``rel="next"`` in a Link header (RFC 8288)."""
    for target, parameters in re.findall(r"<([^<>]*)>([^<]*)", link):
        if re.search(r';\s*rel="?([^";]*\s)?next\b', parameters, re.IGNORECASE):
            return str(target)
    return None


def read_json(body: bytes) -> Any:
    """The decoded body, None for an empty one.

    Raises:
        ValueError: it is no JSON, or nested too deeply to read.
    """
    if not body.strip():
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # a lone surrogate is JSON to the platforms, not to orjson
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def platform_message(body: bytes) -> str:
    """What a platform says went wrong, as one text; empty where it says nothing readable.

    GitHub ``message`` and ``errors[].message``; GitLab ``message`` or ``error``; Jira
    ``errorMessages`` and ``errors{}``; Plane ``error`` or ``detail``.
    """
    try:
        told = read_json(body)
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    names = ("message", "error", "error_description", "detail", "errorMessages", "errors")
    return "; ".join(text for name in names for text in _texts(told.get(name)))


def login_refusal(headers: Mapping[str, str]) -> str:
    """Why a login was not even looked at, as Jira tells it; empty where it is not said.

    https://developer.atlassian.com/server/jira/platform/basic-authentication/ (CAPTCHA)
    """
    reason = headers.get("x-authentication-denied-reason", "").strip().upper()
    seraph = headers.get("x-seraph-loginreason", "").strip().upper()
    if reason.startswith("CAPTCHA") or "AUTHENTICATION_DENIED" in seraph:
        return (
            "after too many failed logins the account has to solve a CAPTCHA: log in to the "
            "platform in a browser once"
        )
    return ""


def _texts(told: Any, depth: int = 0) -> list[str]:
    if isinstance(told, str):
        return [told] if told else []
    if depth >= MOST_LEVELS:
        return []
    if isinstance(told, list):
        return [text for one in told[:10] for text in _texts(one, depth + 1)]
    if isinstance(told, dict):
        if isinstance(told.get("message"), str):
            return _texts(told["message"])
        if "code" in told and "field" in told:  # GitHub: {"resource", "field", "code"}
            return [f"{told['field']}: {told['code']}"]
        return [
            f"{name}: {text}"
            for name, one in list(told.items())[:10]
            for text in _texts(one, depth + 1)
        ]
    return []
