"""The services that Aether brings along, and the supervisor behind ``aether up``."""
