"""
The tests of the storage package.
"""
