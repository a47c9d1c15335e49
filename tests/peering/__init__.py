"""
The tests of the peering package.
"""
