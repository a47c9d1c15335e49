"""
What the scheduler decides: which stores hold a region's replicas, which of them leads, and in which steps to get there.

L{tinykv.placement.placement.Placement} is the whole of it for a host: heartbeats go in, orders come out. Nothing here
waits, reads a clock or draws a number of its own: times are seconds that the host hands in, from a clock that never
goes back, and chance is a C{random.Random} argument.
"""
