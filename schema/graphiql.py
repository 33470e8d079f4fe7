"""The GraphiQL page and its files, served from here: it works without any outside address."""

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Final

from strawberry.http.ides import get_graphql_ide_html

FOLDER: Final = Path(__file__).parent / "static" / "graphiql"

FILES: Final[Mapping[str, str]] = {
    "https://unpkg.com/react@18.2.0/umd/react.production.min.js": "react.production.min.js",
    "https://unpkg.com/react-dom@18.2.0/umd/react-dom.production.min.js": (
        "react-dom.production.min.js"
    ),
    "https://unpkg.com/js-cookie@3.0.5/dist/js.cookie.min.js": "js.cookie.min.js",
    "https://unpkg.com/graphiql@3.8.3/graphiql.min.js": "graphiql.min.js",
    "https://unpkg.com/graphiql@3.8.3/graphiql.min.css": "graphiql.min.css",
    "https://unpkg.com/@graphiql/plugin-explorer@1.0.2/dist/index.umd.js": (
        "plugin-explorer.umd.js"
    ),
    "https://unpkg.com/@graphiql/plugin-explorer@1.0.2/dist/style.css": "plugin-explorer.css",
}
"""Strawberry's addresses and our files; the page's integrity hashes are left as they are."""

MEDIA_TYPES: Final[Mapping[str, str]] = {".js": "text/javascript", ".css": "text/css"}

PLACE: Final = "AETHER-STATIC"
LOADED: Final = re.compile(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""")
INLINE_SCRIPT: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@cache
def _template() -> str:
    page = get_graphql_ide_html("graphiql")
    for address, name in FILES.items():
        if page.count(address) != 1:
            raise RuntimeError(f"Strawberry's GraphiQL page no longer asks for {address}")
        page = page.replace(address, f"{PLACE}/{name}")
    if LOADED.search(page):
        raise RuntimeError("Strawberry's GraphiQL page asks for an address that we do not serve")
    return page.replace("<title>Strawberry GraphiQL</title>", "<title>Aether GraphiQL</title>")


def page(static: str) -> str:
    """The page, taking its files from under the path ``static``."""
    return _template().replace(PLACE, escape(static))


@cache
def content_security_policy() -> str:
    """Lets the page load its own files and talk to its own origin; nothing else, no framing."""
    hashes = " ".join(
        f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
        for script in INLINE_SCRIPT.findall(_template())
    )
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def file_named(name: str) -> Path | None:
    """The file of this name, or None; only names from the table are looked up."""
    return FOLDER / name if name in FILES.values() else None
