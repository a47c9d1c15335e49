"""Tests of tinykv.raft."""
