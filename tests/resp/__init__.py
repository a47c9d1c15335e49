"""Tests of the protocol: requests and replies, whole, in pieces and damaged."""
