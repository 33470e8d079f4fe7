"""Aether: AI agents that answer what happens in your issue trackers."""

from typing import Final

__version__: Final = "0.1.0"
