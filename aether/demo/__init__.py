"""The demo's stand-ins: a GitHub and a language model on loopback, and the story they tell."""
