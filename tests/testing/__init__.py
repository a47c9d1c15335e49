"""Tests of the checkers and the simulation: tests of what the other tests rest on."""
