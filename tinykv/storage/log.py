"""
raft.db: the logs, votes and terms of all regions. Runs in the log writer's process; reading at start in the
store's.

One batch is one transaction, whatever regions it is about; so one fsync makes all of it durable. An error of
it is final (R7): nobody knows then what is on disk, and only a restart looks.

A batch is a list of operations, done in their order:

    (APPEND, region, first, [(term, data), ...])   entries first, first + 1, ...; what the log has from first
    on goes (STATE, region, peer, term, vote, commit_hint) (CUT, region, idx, term)      entries up to idx are
    gone, and (idx, term) is the base; the rest stays (RESET, region, idx, term)    all entries are gone, and
    (idx, term) is the base (FORGET, region)              nothing is left of the region (SYNC,)
    durability "os": what was written before, and this batch, is to be on disk

With durability C{os} a batch is fsynced only if it changes a term or a vote, or says SYNC.

Entries lie in the order in which they were written, whatever region they are of: what a commit adds lies on few pages
then, however many regions write. Where a region's entries are is told by marks: the entries from a mark's index on, up
to the next mark's, are among the L{REACH} places from its place on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from tinykv.storage.checksum import entry_checksum, numbers_checksum
from tinykv.storage.errors import CorruptFile, LogGap, from_os, from_sqlite
from tinykv.storage.log_end import LogEnd

APPEND: Final = 0
STATE: Final = 1
CUT: Final = 2
RESET: Final = 3
FORGET: Final = 4
SYNC: Final = 5

#: Bytes of operations after which the write-ahead log is worth a checkpoint.
CHECKPOINT_BYTES: Final = 16 * 1024 * 1024
#: Rows of the log read at once at start.
_LOAD_ROWS: Final = 256
#: So many places, other regions' among them, belong to a mark. A fact of the format.
REACH: Final = 64
#: Beyond every index.
_END: Final = 2**63 - 1

_PUT_STATE: Final = (
    "INSERT OR REPLACE INTO hard_state (region, peer, term, vote, commit_hint, crc) VALUES (?, ?, ?, ?, ?, ?)"
)
_PUT_BASE: Final = "INSERT OR REPLACE INTO log_base (region, idx, term, crc) VALUES (?, ?, ?, ?)"
_INSERT: Final = "INSERT INTO log (place, region, idx, term, crc, data) VALUES (?, ?, ?, ?, ?, ?)"
_MARK: Final = "INSERT INTO log_mark (region, idx, place, crc) VALUES (?, ?, ?, ?)"
#: The mark that tells where an entry is, or the first behind it.
_MARK_OF: Final = "coalesce((SELECT MAX(idx) FROM log_mark WHERE region = :region AND idx <= :low), :low)"
_MARKS: Final = (
    f"SELECT idx, place, crc FROM log_mark WHERE region = :region AND idx >= {_MARK_OF} AND idx <= :high ORDER BY idx"
)
_DELETE: Final = f"DELETE FROM log WHERE place >= ? AND place < ? + {REACH} AND region = ? AND idx >= ? AND idx <= ?"
#: A region's entries in one statement, so as of one moment: each beside its mark, and a mark without any by itself.
_FROM_MARKS: Final = (
    "FROM log_mark AS mark LEFT JOIN log ON log.place >= mark.place "
    f"AND log.place < mark.place + {REACH} AND log.region = :region AND log.idx >= :low AND log.idx <= :high "
    "WHERE mark.region = :region AND mark.idx <= :high"
)
_FROM_MARK_OF: Final = f"{_FROM_MARKS} AND mark.idx >= {_MARK_OF}"


@dataclass(frozen=True, slots=True)
class HardState:
    """
    What a region's peer has promised.
    """

    peer: int
    term: int
    vote: int
    commit_hint: int


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One entry of a log.
    """

    index: int
    term: int
    data: bytes


class LogStore:
    """
    Writes to raft.db.

    @param connection: the writing connection of the file; from here on nobody else's.
    @param path: for messages.
    @param fsync: C{False} for durability C{os}.
    @param checkpoint_bytes: bytes of operations after which a checkpoint is due.
    @param noting: whether it's noted how far the write-ahead log is on disk (L{LogEnd}). Not with durability C{os}: a
        loss of power may take more than a note of it.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        *,
        fsync: bool = True,
        checkpoint_bytes: int = CHECKPOINT_BYTES,
        noting: bool = True,
    ) -> None:
        self._connection = connection
        self._path = path
        self._fsync = fsync
        self._end = LogEnd(path) if fsync and noting else None
        self._checkpoint_bytes = checkpoint_bytes
        self._synchronous = True
        self._unchecked = 0  # bytes written since the last checkpoint
        #: region -> its last index; a region without entries and base has none
        self._lasts: dict[int, int] = {}
        #: region -> place of its last mark
        self._marks: dict[int, int] = {}
        #: where the next entry goes; behind all marks too, of whose entries none may be left
        self._place = 1
        #: region -> (term, vote) as written
        self._votes: dict[int, tuple[int, int]] = {}
        try:
            self._lasts.update(connection.execute("SELECT region, idx FROM log_base").fetchall())
            lasts = dict(connection.execute("SELECT region, idx FROM log ORDER BY place"))
            for region, last in lasts.items():
                if read_last(connection, region)[0] != last:
                    raise _damaged(connection, f"where the entries of region {region} are")
            self._lasts.update(lasts)
            self._marks.update(connection.execute("SELECT region, place FROM log_mark ORDER BY region, idx"))
            (place,) = connection.execute("SELECT MAX(place) FROM log").fetchone()
            self._place = max(place or 0, *self._marks.values(), 0) + 1
            for region, term, vote in connection.execute("SELECT region, term, vote FROM hard_state"):
                self._votes[region] = (term, vote)
        except sqlite3.Error as error:
            raise from_sqlite(error, path) from error

    def write(self, operations: list[tuple[Any, ...]]) -> None:
        """
        Make a batch durable: one transaction, one fsync.

        @raise StorageError: final; the object mustn't be used again.
        """
        if not operations:
            return
        execute = self._connection.execute
        try:
            if not self._fsync:
                self._choose_synchronous(operations)
            execute("BEGIN IMMEDIATE")
            try:
                self._write(operations)
                execute("COMMIT")
            except BaseException:
                # A full disk has ended the transaction already.
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise
            if self._end is not None:
                self._end.committed()
        except sqlite3.Error as error:
            raise from_sqlite(error, self._path) from error
        except OSError as error:
            raise from_os(error, self._path) from error

    def _choose_synchronous(self, operations: list[tuple[Any, ...]]) -> None:
        """
        Durability C{os}: does this batch need the disk?
        """
        full = any(
            operation[0] == SYNC
            or (operation[0] == STATE and self._votes.get(operation[1]) != (operation[3], operation[4]))
            for operation in operations
        )
        if full != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._synchronous = full

    def _write(self, operations: list[tuple[Any, ...]]) -> None:
        execute = self._connection.execute
        rows: list[tuple[int, int, int, int, int, bytes]] = []
        states: dict[int, tuple[int, ...]] = {}
        for operation in operations:
            verb = operation[0]
            if verb == APPEND:
                self._append(operation[1], operation[2], operation[3], rows)
                continue
            if verb == STATE:
                _, region, _, term, vote, _ = operation
                states[region] = operation[1:]
                self._votes[region] = (term, vote)
                continue
            self._insert(rows)
            if verb == CUT:
                self._cut(*operation[1:3])
                self._rebase(operation)
                self._lasts[operation[1]] = max(self._lasts.get(operation[1], 0), operation[2])
            elif verb == RESET:
                self._delete(operation[1], 0)
                self._rebase(operation)
                self._lasts[operation[1]] = operation[2]
            elif verb == FORGET:
                self._delete(operation[1], 0)
                for table in ("hard_state", "log_base"):
                    execute(f"DELETE FROM {table} WHERE region = ?", operation[1:2])
                states.pop(operation[1], None)
                self._lasts.pop(operation[1], None)
                self._votes.pop(operation[1], None)
            else:
                assert verb == SYNC, f"unknown operation {verb}"
                # A commit that changes nothing isn't fsynced, so it changes something.
                execute("UPDATE meta SET value = value + 1 WHERE name = 'syncs'")
        self._insert(rows)
        if states:
            # Of each region the last is enough.
            self._connection.executemany(_PUT_STATE, [(*state, numbers_checksum(*state)) for state in states.values()])

    def _append(
        self,
        region: int,
        first: int,
        entries: list[tuple[int, bytes]],
        rows: list[tuple[int, int, int, int, int, bytes]],
    ) -> None:
        last = self._lasts.get(region, 0)
        if first > last + 1:
            raise LogGap(
                f"{self._path}: entries from {first} on were to follow entry {last} of region {region}. "
                "This is a fault of the program; nothing was written"
            )
        if first <= last:
            self._insert(rows)
            self._delete(region, first)
        index = first
        place = self._place
        mark = self._marks.get(region, -REACH)
        for term, data in entries:
            if place - mark >= REACH:
                mark = self._marks[region] = place
                self._connection.execute(_MARK, (region, index, place, numbers_checksum(region, index, place)))
            rows.append((place, region, index, term, entry_checksum(region, index, term, data), data))
            self._unchecked += len(data) + 64
            index += 1
            place += 1
        self._place = place
        self._lasts[region] = index - 1

    def _delete(self, region: int, first: int) -> None:
        """
        Delete a region's entries from C{first} on, with the marks that lead to them.
        """
        self._delete_entries(region, first, _END)
        self._connection.execute("DELETE FROM log_mark WHERE region = ? AND idx >= ?", (region, first))
        left = self._connection.execute(
            "SELECT place FROM log_mark WHERE region = ? ORDER BY idx DESC LIMIT 1", (region,)
        ).fetchone()
        if left is None:
            self._marks.pop(region, None)
        else:
            (self._marks[region],) = left

    def _cut(self, region: int, last: int) -> None:
        """
        Delete a region's entries up to C{last}, and the marks that lead to none but them, except the last: what comes
        next may still lie within its reach.
        """
        self._delete_entries(region, 0, last)
        self._connection.execute(
            "DELETE FROM log_mark WHERE region = :region AND idx < "
            "(SELECT MAX(idx) FROM log_mark WHERE region = :region AND idx <= :next)",
            {"region": region, "next": last + 1},
        )

    def _delete_entries(self, region: int, low: int, high: int) -> None:
        marks = self._connection.execute(_MARKS, {"region": region, "low": low, "high": high}).fetchall()
        for index, place, crc in marks:
            _verify_mark(self._connection, region, index, place, crc)
        self._connection.executemany(_DELETE, [(place, place, region, low, high) for _, place, _ in marks])

    def _insert(self, rows: list[tuple[int, int, int, int, int, bytes]]) -> None:
        if rows:
            self._connection.executemany(_INSERT, rows)
            rows.clear()

    def _rebase(self, operation: tuple[Any, ...]) -> None:
        self._connection.execute(_PUT_BASE, (*operation[1:4], numbers_checksum(*operation[1:4])))
        self._unchecked += 4096

    def last(self, region: int) -> int:
        """
        @return: the index of a region's last entry, or of its base if it has none; 0 if it has neither.
        """
        return self._lasts.get(region, 0)

    def cut_place(self, region: int, index: int, size: int) -> tuple[int, int] | None:
        """
        Find where a log may be cut instead, so that about so many bytes go.

        @param index: up to where it's to be cut in the end.
        @return: (index, term) of an entry; C{None} if there's no more than that up to C{index}.
        @raise StorageError: final; the object mustn't be used again.
        """
        try:
            for place, term, length in self._connection.execute(
                f"SELECT log.idx, log.term, LENGTH(log.data) {_FROM_MARKS} ORDER BY mark.idx, log.place",
                {"region": region, "low": 0, "high": index - 1},
            ):
                if place is None:
                    continue
                size -= length + 64
                if size <= 0:
                    return (place, term)
        except sqlite3.Error as error:
            raise from_sqlite(error, self._path) from error
        return None

    @property
    def wants_checkpoint(self) -> bool:
        """
        Is enough written for a checkpoint to be worth its fsync?
        """
        return self._unchecked >= self._checkpoint_bytes

    def checkpoint(self) -> None:
        """
        Bring the write-ahead log into the file, between two transactions and waiting for nobody (R8).
        """
        self._unchecked = 0
        try:
            _, frames, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if self._end is not None and frames == moved:
                self._end.forget()
        except sqlite3.Error as error:
            raise from_sqlite(error, self._path) from error
        except OSError as error:
            raise from_os(error, self._path) from error

    def close(self) -> None:
        """
        Empty the write-ahead log and close the file.
        """
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            if self._end is not None:
                self._end.forget()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise from_sqlite(error, self._path) from error
        except OSError as error:
            raise from_os(error, self._path) from error
        finally:
            self._connection.close()
            if self._end is not None:
                self._end.close()


def _damaged(connection: sqlite3.Connection, what: str) -> CorruptFile:
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    return CorruptFile(
        f"{path}: {what} isn't what was written there, its checksum says. The file was left as it is; keep a copy, and "
        "start this store with an empty folder under a new id"
    )


def _verify_mark(connection: sqlite3.Connection, region: int, index: int, place: int, crc: int) -> None:
    if crc != numbers_checksum(region, index, place):
        raise _damaged(connection, f"where entry {index} of region {region} is")


def read_hard_state(connection: sqlite3.Connection, region: int) -> HardState | None:
    """
    @return: what the region's peer has promised, or C{None} if it never promised anything.
    @raise CorruptFile: it isn't what was written.
    """
    row = connection.execute(
        "SELECT peer, term, vote, commit_hint, crc FROM hard_state WHERE region = ?", (region,)
    ).fetchone()
    if row is None:
        return None
    if row[4] != numbers_checksum(region, *row[:4]):
        raise _damaged(connection, f"what the peer of region {region} promised")
    return HardState(*row[:4])


def read_base(connection: sqlite3.Connection, region: int) -> tuple[int, int]:
    """
    @return: (index, term) of the entry before the region's first; (0, 0) if the log begins at its beginning.
    @raise CorruptFile: it isn't what was written.
    """
    row = connection.execute("SELECT idx, term, crc FROM log_base WHERE region = ?", (region,)).fetchone()
    if row is None:
        return (0, 0)
    if row[2] != numbers_checksum(region, row[0], row[1]):
        raise _damaged(connection, f"the base of region {region}'s log")
    return (row[0], row[1])


def read_promised(connection: sqlite3.Connection) -> dict[int, int]:
    """
    @return: behind which entry the log begins of each region whose peer has promised something, by id.
    @raise CorruptFile: it isn't what was written.
    """
    regions = connection.execute("SELECT region FROM hard_state ORDER BY region").fetchall()
    return {region: read_base(connection, region)[0] for (region,) in regions}


def read_last(connection: sqlite3.Connection, region: int) -> tuple[int, int]:
    """
    @return: (index, term) of the region's last entry, or of its base if it has none.
    @raise CorruptFile: where the entries are isn't what was written.
    """
    rows = connection.execute(
        "SELECT log.idx, log.term, mark.idx, mark.place, mark.crc "
        f"{_FROM_MARKS} ORDER BY mark.idx DESC, log.place DESC",
        {"region": region, "low": 0, "high": _END},
    )
    with closing(rows):
        for index, term, *mark in rows:
            _verify_mark(connection, region, *mark)
            if index is not None:
                return (index, term)
    return read_base(connection, region)


def read_term(connection: sqlite3.Connection, region: int, index: int) -> int | None:
    """
    @return: the term of an entry or of the base, or C{None} if the log doesn't hold that index.
    @raise CorruptFile: the entry isn't what was written.
    """
    row = connection.execute(
        "SELECT log.term, log.crc, log.data, mark.idx, mark.place, mark.crc "
        f"{_FROM_MARKS} ORDER BY mark.idx DESC LIMIT 1",
        {"region": region, "low": index, "high": index},
    ).fetchone()
    if row is not None:
        _verify_mark(connection, region, *row[3:])
        if row[0] is not None:
            if row[1] != entry_checksum(region, index, row[0], row[2]):
                raise _damaged(connection, f"entry {index} of region {region}")
            return int(row[0])
    base, term = read_base(connection, region)
    return term if index == base else None


def read_entries(connection: sqlite3.Connection, path: str, region: int, after: int) -> Iterator[Entry]:
    """
    Yield the entries above C{after}, some at a time.

    @raise CorruptFile: one is missing, or isn't what was written.
    """
    expected = after + 1
    while True:
        found = 0
        for entry in read_some(connection, path, region, expected, _LOAD_ROWS):
            yield entry
            found += 1
        if found < _LOAD_ROWS:
            return
        expected += found


def read_some(
    connection: sqlite3.Connection, path: str, region: int, first: int, limit: int
) -> Generator[Entry, None, None]:
    """
    Yield up to so many entries from C{first} on; the first of them may be missing if the log ends before it.

    @raise CorruptFile: one is missing, or isn't what was written.
    """
    cursor = connection.cursor()
    try:
        # Row by row: entries may be large.
        cursor.execute(
            f"SELECT log.idx, log.term, log.data, log.crc, mark.idx, mark.place, mark.crc {_FROM_MARK_OF} "
            "ORDER BY mark.idx, log.place",
            {"region": region, "low": first, "high": _END},
        )
        expected = first
        marked = -1
        for index, term, data, crc, mark, place, mark_crc in cursor:
            if mark != marked:
                _verify_mark(connection, region, mark, place, mark_crc)
                marked = mark
            if index is None:
                continue
            if index != expected:
                raise CorruptFile(
                    f"{path}: entry {expected} of region {region} is missing before entry {index}. The "
                    "file was left as it is; keep a copy, and start this store with an empty folder under "
                    "a new id"
                )
            if crc != entry_checksum(region, index, term, data):
                raise _damaged(connection, f"entry {expected} of region {region}")
            yield Entry(index, term, data)
            expected += 1
            if expected == first + limit:
                return
    except sqlite3.Error as error:
        raise from_sqlite(error, path) from error
    finally:
        cursor.close()


def read_terms(connection: sqlite3.Connection, region: int) -> Iterator[tuple[int, int]]:
    """
    Yield (index, term) of all entries of a region, as far as its marks lead to them.

    @raise CorruptFile: where they are isn't what was written.
    """
    rows = connection.execute(
        f"SELECT log.idx, log.term, mark.idx, mark.place, mark.crc {_FROM_MARKS} ORDER BY mark.idx, log.place",
        {"region": region, "low": 0, "high": _END},
    )
    for index, term, *mark in rows:
        _verify_mark(connection, region, *mark)
        if index is not None:
            yield index, term
