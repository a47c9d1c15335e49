"""Tests of tinykv.region."""
