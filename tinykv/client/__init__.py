"""Asking other daemons: the scheduler."""
