"""Tests of tinykv.server."""
