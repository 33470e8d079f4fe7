"""The queue's door: Dramatiq's actors, each a name, a limit and one call into the engine."""
