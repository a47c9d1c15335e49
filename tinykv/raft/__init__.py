"""Consensus: what a group of peers agrees on, as a function of messages and ticks."""
