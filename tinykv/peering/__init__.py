"""
How stores talk to each other: a line protocol, one link to each other store, connections of their own for snapshots.
"""
