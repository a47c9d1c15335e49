"""Tests of what the scheduler decides."""
