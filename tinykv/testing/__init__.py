"""Simulated neighbours and verified fakes; only tests import this package."""
