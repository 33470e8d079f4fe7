"""What a database holds, to see that something has left it as it was."""

from aether.db import rows


async def contents() -> dict[str, tuple[int, str | None]]:
    """Of every table how many rows it has, and a hash of all of them."""
    tables = await rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = {}
    for one in tables:
        name = one["tablename"]
        [told] = await rows(
            f"""SELECT count(*) AS n, md5(string_agg(t::text, '|' ORDER BY t::text)) AS digest
                FROM "{name}" t"""  # noqa: S608 # the database's own names
        )
        found[name] = (int(told["n"]), told["digest"])
    return found
