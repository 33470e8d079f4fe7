"""What agents remember: stored by key, found by meaning and by words, within their scopes."""
