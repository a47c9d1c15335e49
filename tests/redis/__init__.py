"""Tests of tinykv.redis."""
