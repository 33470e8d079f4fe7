"""Live events: what happened, told to whoever follows it, by any process to any other.

Database triggers write a row for each event (``aether/migrations/0003_live.py``); each web process
has one ``Hub`` that hears of new rows while anybody follows, and hands them on.
"""
