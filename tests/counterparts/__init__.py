"""The end-to-end test against programs that others wrote; ``make test-counterparts``."""
