"""Tests that run real processes on free ports of 127.0.0.1."""
