"""The stand-in's one page for people: the issue and its comments, as a browser shows them."""

import io
from typing import Final

from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from aether.demo.github import GitHubStandIn
from aether.demo.scenario import ISSUE_NUMBER, REPOSITORY
from aether.demo.story import markdown, one_line

PATH: Final = f"/{REPOSITORY}/issues/{ISSUE_NUMBER}"
WIDTH: Final = 100


def with_page(github: GitHubStandIn) -> ASGIApp:
    """The stand-in's application, with a page at the address that its issue and comments name."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == PATH:
            await HTMLResponse(html(github))(scope, receive, send)
            return
        await github.app(scope, receive, send)

    return app


def html(github: GitHubStandIn) -> str:
    """The issue as it stands now."""
    issue = github.issue(REPOSITORY, ISSUE_NUMBER)
    console = Console(record=True, file=io.StringIO(), width=WIDTH, markup=False, emoji=False)
    console.print(Text("A stand-in for GitHub, made by aether demo", style="yellow"))
    console.print(Text(f"\n#{issue.number} {one_line(issue.title)}", style="bold"))
    console.print(Text(f"{issue.state}; labels: {', '.join(issue.labels) or 'none'}\n"))
    texts = [(issue.author.login, issue.body or "")]
    texts += [(one.author.login, one.body) for one in github.comments(REPOSITORY, ISSUE_NUMBER)]
    for author, text in texts:
        console.print(Panel(markdown(text), title=Text(one_line(author)), title_align="left"))
    return console.export_html(inline_styles=True)
