"""The two arguments that every list takes."""

from typing import Annotated

import strawberry

from schema.limits import MAX_PAGE

Limit = Annotated[int, strawberry.argument(description=f"At most this many, from 1 to {MAX_PAGE}.")]
Offset = Annotated[int, strawberry.argument(description="Leave out this many, 0 or more.")]
