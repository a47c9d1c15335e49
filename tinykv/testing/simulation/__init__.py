"""
A world in one process that one seed determines.

    events     the one queue, the true time, named sources of randomness, a digest of all that happens
    clock      clocks that are off; processes that may be paused and killed, each an IReactorTime
    network    links that lose, delay, double, reorder and cut messages
    streams    connections over such links: transports for Twisted's protocols
    files      what raft.db and data.db hold, in dicts
    disk       both files of a store: commits take time, crashes take what wasn't synced; slow, stuck, full, failing
    channels   the processes of a store's writers, readers and copies, behind the real objects that speak to them
    folder     the real files of a machine: its snapshots, and databases to make and install them with
    peering    the links between stores; endpoints: the real ones, on which snapshots travel
    faults     a schedule of what goes wrong, drawn kind by kind, and the nemesis that lets it happen
    workload   clients that draw requests and take the history down
    ports      their way to a store, in RESP
    pipelines  clients that don't wait for replies; optimists: clients that write what they've read under WATCH
    scenario   what a run is given and what it reports
    runner     many seeds: `make sim`

A scenario puts these together with the code under test: tests/testing/one_store.py is the smallest. What is in it must
take time from its process, randomness from L{Events.random}, and never depend on the order of a set.
"""
