"""Tests of tinykv.tap."""
