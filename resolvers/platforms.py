"""Whether the environment's credential of a platform works: the platform is asked who we are."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aether.config import Settings
from aether.engine.runtime import runtime
from aether.errors import InvalidInputError, NotConfiguredError, UpstreamError
from aether.platform_auth import TOKEN_SETTINGS, URL_SETTINGS, base_url
from aether.vocabulary import SourceName

OK: Final = "ok"


@dataclass(frozen=True, kw_only=True)
class IntegrationTest:
    """``status`` is ok; when it is not, an error is raised instead."""

    status: str
    source: SourceName


async def check_integration(source: SourceName) -> IntegrationTest:
    """Ask ``source``, with the credential of the environment, whose it is.

    Raises:
        NotConfiguredError: no credential, address or workspace is set; names the setting.
        UpstreamError: the token is refused, lacks the right or does not see the workspace, or
            nobody answers; says which.
    """
    here = runtime()
    try:
        await here.credentials.ask_environment(source)
        scope = await here.credentials.missing_scope(source)
    except UpstreamError as error:
        raise _in_words(_told(here.settings, source, error), error) from error
    try:
        await here.credentials.check_workspace(source)
    except UpstreamError as error:
        raise _in_words(_told_of_workspace(here.settings, source, error), error) from error
    except InvalidInputError as error:  # a slug that no address can hold
        raise NotConfiguredError(
            f"PLANE_WORKSPACE: {here.settings.plane_workspace!r} is no workspace"
        ) from error
    if scope is not None:
        raise UpstreamError(
            f"{TOKEN_SETTINGS[source]}: it lacks the scope {scope}, without which nothing can be "
            f"written on {source}",
            status=403,
            retryable=False,
        )
    return IntegrationTest(status=OK, source=source)


def _in_words(text: str, error: UpstreamError) -> UpstreamError:
    return UpstreamError(
        text, status=error.status, retryable=error.retryable, retry_after=error.retry_after
    )


def _told_of_workspace(settings: Settings, source: SourceName, error: UpstreamError) -> str:
    """What is wrong where the credential works and its workspace does not answer."""
    slug = settings.plane_workspace
    if error.status in {400, 403, 404} and not error.retryable:
        return f"PLANE_WORKSPACE: this key sees no workspace {slug!r}: {error}"
    return _told(settings, source, error)


def _told(settings: Settings, source: SourceName, error: UpstreamError) -> str:
    """What is wrong, and which setting to look at."""
    setting = TOKEN_SETTINGS[source]
    if source is SourceName.GITHUB and settings.github_app_id:
        setting = "GITHUB_APP_PRIVATE_KEY"
    # Plane answers 403 where others answer 401.
    is_refused = (
        source is SourceName.PLANE and error.status == 403 and "token" in str(error).lower()
    )
    if error.status == 401 or is_refused:
        hint = ""
        if source is SourceName.JIRA and not settings.jira_email:
            hint = " (sent as Bearer, since JIRA_EMAIL is not set; Jira Cloud's tokens need it)"
        return f"{setting}: {source} refuses it{hint}: {error}"
    if error.status == 403 and not error.retryable:
        return f"{setting}: it lacks the right to ask whose it is: {error}"
    if error.status == 404:
        return f"{URL_SETTINGS[source]}: there is no API of {source} at this address: {error}"
    if error.status is None and error.retryable:
        host = urlsplit(base_url(settings, source, None)).netloc
        return f"{host} cannot be reached: {error}"
    if error.status is None:
        return f"{source.upper()}_URL: is it {source}'s own address? {error}"
    return f"{source}: {error}"
