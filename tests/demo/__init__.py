"""Tests of the stand-ins that every other test relies on."""
