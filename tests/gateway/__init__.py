"""Tests of L{tinykv.gateway}."""
