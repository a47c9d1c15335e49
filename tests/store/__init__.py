"""Tests of tinykv.store."""
