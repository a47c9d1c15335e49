"""A world in one process that one seed determines: time, clocks, processes, network, disks, faults and clients."""
