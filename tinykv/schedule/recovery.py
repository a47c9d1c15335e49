"""
What a start makes of a member's folder: the rows of its state, and over them as much of the log as is known to be
decided. A member on its own has decided whatever it has written down.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from tinykv.errors import Damaged
from tinykv.raft.messages import NORMAL, Entry, HardState
from tinykv.raft.stored import entry_of
from tinykv.region.descriptor import Descriptor, descriptor_key
from tinykv.region.state import ApplyState
from tinykv.schedule.rows import ROWS, Record
from tinykv.schedule.state import State
from tinykv.storage.folder import Recovery
from tinykv.storage.log import Entry as StoredEntry
from tinykv.storage.reader import Reader

#: The one region that there is.
REGION: Final = 1

_SCAN_ROWS: Final = 1_000


class Folder(Protocol):
    """Where a start finds what there is."""

    def recover(self, region: int) -> Recovery:
        """Find where the region stands."""

    def entries(self, region: int, after: int) -> Iterator[StoredEntry]:
        """Yield the entries of the log above C{after}."""


class Recovered(NamedTuple):
    """What a start has found; see L{recover}."""

    state: State
    applied: ApplyState
    hard_state: HardState
    descriptor: Descriptor
    peer: int


def load_rows(reader: Reader) -> Iterator[tuple[bytes, bytes]]:
    """Yield all rows of the state."""
    rising = reader.rising("data")
    start, end = ROWS
    while True:
        rows = rising(start, end, _SCAN_ROWS)
        yield from rows
        if len(rows) < _SCAN_ROWS:
            return
        start = rows[-1][0] + b"\0"


def recover(folder: Folder, reader: Reader, initial: Descriptor, member: int) -> Recovered:
    """
    Bring a state up to what is known to be decided.

    @raise tinykv.storage.errors.StorageError: The files can't be read.
    @raise tinykv.errors.Damaged: They don't hold what they must.
    """
    found = folder.recover(REGION)
    state = State()
    state.tables.load(load_rows(reader))
    row = reader.get("region", descriptor_key(REGION))
    descriptor = initial if row is None else Descriptor.decode(REGION, row)
    peer = descriptor.peer_on(member)
    if peer is None:
        raise Damaged(f"member {member} isn't one of those with which the scheduler began")
    applied = ApplyState() if found.apply_state is None else ApplyState.decode(found.apply_state)
    index, term = applied.index, applied.term
    alone = descriptor.membership.voters == (peer,)
    for stored in folder.entries(REGION, index):
        if stored.index > found.commit and not alone:
            break
        entry = entry_of(stored.index, stored.term, stored.data)
        if entry.data:
            state.apply(decode_entry(entry))
        index, term = entry.index, entry.term
    hard = found.hard_state
    commit = max(index, found.commit)
    hard_state = HardState(0, 0, commit) if hard is None else HardState(hard.term, hard.vote, commit)
    return Recovered(state, ApplyState(index, term), hard_state, descriptor, peer)


def decode_entry(entry: Entry) -> Record:
    """
    Read the command of an entry.

    @raise Damaged: It isn't one.
    """
    try:
        command = json.loads(entry.data)
    except ValueError as problem:
        raise Damaged(f"entry {entry.index} of the scheduler's log isn't JSON text") from problem
    if entry.kind != NORMAL or not isinstance(command, dict):
        raise Damaged(f"entry {entry.index} of the scheduler's log is no command")
    return command
