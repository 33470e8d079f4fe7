"""Tests of the REST door's foundations."""
