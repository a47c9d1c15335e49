"""
Installing a snapshot: the rows of a region are replaced by those of a file. Runs in the data writer's process.

The whole file is compared with its checksums before anything changes. Then it goes in transactions of bounded size, so
that flushes of other regions pass in between: the first one takes the region's apply state away and leaves a mark, the
next ones delete and insert, the last one writes the snapshot's apply state and removes the mark (R10). A start that
finds a mark does all of it again from the file, before anything is believed.

Where the region was wider here than it is in the snapshot, what lies in the rest goes too, unless another region is at
work there by now. That comes before the region's old descriptor goes, which says how wide it was.

A snapshot takes the place of the regions as well that were merged into its own (R19), which it names: what they have
here goes likewise, and in the last transaction tombstones take the place of what says that they're here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tinykv.errors import Damaged
from tinykv.region.descriptor import DESCRIPTORS, Descriptor
from tinykv.region.merging import Record, record_key
from tinykv.region.snapshot import EVERYTHING, MARKS, InstallMark, install_key, key_range, marked_region, own_ranges
from tinykv.region.state import ApplyState, apply_key
from tinykv.region.tombstone import encode_merged, tombstone_key
from tinykv.storage.connection import PAGE_BYTES
from tinykv.storage.data import CHECKPOINT_BYTES, DISCARD, EXPIRIES, HIDE, ROWS, DataStore
from tinykv.storage.disk import disk_space
from tinykv.storage.errors import BadSnapshot, CorruptFile
from tinykv.storage.ranges import Ranges
from tinykv.storage.reader import Reader
from tinykv.storage.schema import errors_of
from tinykv.storage.snapshot_folder import want_room
from tinykv.storage.snapshot_format import EXPIRIES as EXPIRY_FRAMES
from tinykv.storage.snapshot_format import KINDS, SnapshotHead, SnapshotReader, decode_expiry, read_head
from tinykv.storage.tables import FAMILIES

#: Rows that are deleted in one transaction: some 50 ms at worst.
DELETE_ROWS: Final = 5000
#: Bytes of frames that are compared with their checksums, or inserted, at a time.
STEP_BYTES: Final = 2 * 1024 * 1024

#: The families whose rows lie in the ranges of regions.
_OF_KEYS: Final = tuple(family for family in FAMILIES if family != "region")
_MARKS_MAX: Final = 1_000_000
_REGIONS_MAX: Final = 1_000_000
#: Before all entries of the index of expiries.
_FIRST_EXPIRY: Final = (-(2**63), b"")
_FORGET_EXPIRY: Final = "DELETE FROM expiries WHERE at = ? AND key = ?"
#: Bytes that a row takes beside its key and value, and its key beside itself in the tree of keys, each at most.
_ROW_BYTES: Final = 24


class Installation:
    """
    One snapshot on its way into data.db.

    @ivar region: The region.
    @ivar head: What the snapshot stands for, once the file is open.
    @ivar begun: Whether anything was changed; until then it may be refused.
    """

    def __init__(
        self,
        store: DataStore,
        region: int,
        path: str,
        *,
        delete_rows: int = DELETE_ROWS,
        step_bytes: int = STEP_BYTES,
        room_bytes: int = 2 * CHECKPOINT_BYTES,
    ) -> None:
        """
        @param path: of the file, in the data folder. It's taken over: at the end it's deleted.
        @param delete_rows: rows that are deleted in one transaction.
        @param step_bytes: bytes of frames that are read, or inserted, at a time; at least one frame.
        @param room_bytes: what has to be free on the disk beside the rows' room: for the write-ahead log.
        """
        self.region = region
        self.head: SnapshotHead | None = None
        self.begun = False
        self._store = store
        self._path = path
        self._delete_rows = delete_rows
        self._step_bytes = step_bytes
        self._room_bytes = room_bytes
        self._ranges: list[tuple[str, bytes, bytes]] = []

    def steps(self) -> Iterator[None]:
        """
        Install it; between two steps others may use the store, but not for the region.

        @raise BadSnapshot: The file isn't a whole snapshot of this region. If nothing has C{begun} all is as before.
        @raise StorageError: Why it can't go on. If nothing has C{begun} all is as before.
        """
        reader = SnapshotReader(self._path)
        try:
            yield from self._steps(reader)
        finally:
            reader.close()
        self.discard()

    def discard(self) -> None:
        """
        Delete the file, if it's there. What the store ends before, the next start does.

        @raise StorageError: It can't be deleted.
        """
        with errors_of(self._path):
            if os.path.exists(self._path):
                os.unlink(self._path)

    def _steps(self, reader: SnapshotReader) -> Iterator[None]:
        self.head = head = reader.head
        if head.region != self.region:
            raise BadSnapshot(f"{self._path}: this is a snapshot of region {head.region}, not of region {self.region}")
        rows = [(family, head.start, head.end) for family in _OF_KEYS]
        self._ranges = [*rows, *(("region", start, end) for start, end in own_ranges(self.region))]
        needed = self._room_bytes
        for portion in self._portions(reader):
            needed += sum(room_of(items) for _, items in portion)
            yield
        self._want_room(needed)
        yield
        self._mark()
        yield
        yield from self._delete_rest()
        for family, start, end in self._ranges:
            yield from self._delete(family, start, end)
        yield from self._delete_expiries(head.start, head.end)
        for portion in self._portions(reader):
            with self._store.transaction():
                for kind, items in portion:
                    self._insert(kind, items)
            yield
        with self._store.transaction() as connection:
            for source in head.sources:
                self._bury(connection, source)
            self._store.upsert("region", [apply_key(self.region)], [head.state])
            connection.execute("DELETE FROM region WHERE key = ?", (install_key(self.region),))

    def _bury(self, connection: sqlite3.Connection, source: int) -> None:
        """
        Put a tombstone in the place of all that says that a region is here which was merged into this one.

        @raise CorruptFile: The snapshot doesn't say what it was at last.
        """
        row = Reader(self._store.path, self._store.connection).get("region", record_key(self.region, source))
        try:
            if row is None:
                raise Damaged(f"the snapshot has no record of region {source}, which it took in")
            record = Record.decode(source, row)
        except Damaged as problem:
            raise CorruptFile(f"{self._path}: {problem}") from problem
        for start, end in (*own_ranges(source), (apply_key(source), apply_key(source) + b"\0")):
            connection.execute("DELETE FROM region WHERE key >= ? AND key < ?", (start, end))
        self._store.upsert("region", [tombstone_key(source)], [encode_merged(record.into, record.last)])

    def _portions(self, reader: SnapshotReader) -> Iterator[list[tuple[int, list[bytes]]]]:
        """Read all of the file, and yield the frames some at a time."""
        portion: list[tuple[int, list[bytes]]] = []
        size = 0
        for kind, items, length in reader.frames():
            self._look(kind, items)
            portion.append((kind, items))
            size += length
            if size >= self._step_bytes:
                yield portion
                portion = []
                size = 0
        if portion:
            yield portion

    def _look(self, kind: int, items: list[bytes]) -> None:
        """See that the rows are the region's own; they're in order."""
        try:
            if kind == EXPIRY_FRAMES:
                keys = [decode_expiry(item)[1] for item in items]
                family, first, last = "data", min(keys), max(keys)
            else:
                family, first, last = KINDS[kind], items[0], items[-2]
        except (Damaged, ValueError, IndexError) as problem:
            raise BadSnapshot(f"{self._path}: this snapshot has a frame without sense") from problem
        if not (self._owns(family, first) and self._owns(family, last)):
            raise BadSnapshot(f"{self._path}: this snapshot has rows of {family} outside of its range")

    def _owns(self, family: str, key: bytes) -> bool:
        return any(family == name and start <= key < end for name, start, end in self._ranges)

    def _want_room(self, needed: int) -> None:
        """See that the rows will find room."""
        rows = Reader(self._store.path, self._store.connection)
        folder = os.path.dirname(self._store.path) or "."
        reusable = rows.reusable_bytes()
        if disk_space(folder).free + reusable < needed:
            # What is replaced makes room; it's counted only when it matters, since all of it has to be read.
            reusable += sum(rows.size(*place) for place in self._ranges)
        want_room(folder, needed, reusable)

    def _mark(self) -> None:
        """From here on the region is half installed."""
        assert self.head is not None
        name = os.path.relpath(self._path, os.path.dirname(self._store.path))
        mark = InstallMark(self.head.index, self.head.term, name)
        self.begun = True
        with self._store.transaction():
            keys = [apply_key(self.region), install_key(self.region)]
            self._store.upsert("region", keys, [None, mark.encode()])

    def _delete_rest(self) -> Iterator[None]:
        """
        Delete what the region had here beyond the range that it has in the snapshot.

        Other regions may begin there meanwhile, so each transaction looks anew at where they are.
        """
        if not self._rest():
            return
        for family in _OF_KEYS:
            at = EVERYTHING[0]
            while at < EVERYTHING[1]:
                with self._store.transaction() as connection:
                    left = ((max(start, at), end) for start, end in self._rest() if end > at)
                    start, end = next(left, (EVERYTHING[1], EVERYTHING[1]))
                    at = self._delete_some(connection, family, start, end)
                yield
        place: tuple[int, bytes] | None = _FIRST_EXPIRY
        while place is not None:
            with self._store.transaction() as connection:
                found = self._expiries_behind(connection, place, *EVERYTHING)
                rest = Ranges(self._rest())
                delete = [entry for entry in found if rest.covers(entry[1])]
                connection.executemany(_FORGET_EXPIRY, delete)
            yield
            place = found[-1] if len(found) == self._delete_rows else None

    def _rest(self) -> list[tuple[bytes, bytes]]:
        """
        Name the ranges that the region had, and those that were merged into it, as far as data.db says, and neither has
        in the snapshot nor another region.

        @raise CorruptFile: What data.db says of where regions are is damaged.
        """
        assert self.head is not None
        rows = Reader(self._store.path, self._store.connection)
        replaced = {self.region, *self.head.sources}
        had: list[tuple[bytes, bytes]] = []
        kept = [(self.head.start, self.head.end)]
        try:
            for key, row in rows.rising("region")(*DESCRIPTORS, _REGIONS_MAX):
                region = int.from_bytes(key[len(DESCRIPTORS[0]) :], "big")
                range_ = _range_of(Descriptor.decode(region, row))
                if region in replaced:
                    had.append(range_)
                elif _has_rows(rows, region):
                    kept.append(range_)
        except Damaged as problem:
            raise CorruptFile(f"{self._store.path}: {problem}") from problem
        # Of one that wasn't there, or whose descriptor has gone since this is done again, there's nothing left.
        return [piece for start, end in Ranges(had) for piece in _without(start, end, kept)]

    def _delete(self, family: str, start: bytes, end: bytes) -> Iterator[None]:
        while start < end:
            with self._store.transaction() as connection:
                start = self._delete_some(connection, family, start, end)
            yield

    def _delete_some(self, connection: sqlite3.Connection, family: str, start: bytes, end: bytes) -> bytes:
        """Delete the first rows of a range, and say where the others begin; that's its end if there are none."""
        behind = f'SELECT key FROM "{family}" WHERE key >= ? AND key < ? ORDER BY key LIMIT 1 OFFSET ?'
        found = connection.execute(behind, (start, end, self._delete_rows)).fetchone()
        bound: bytes = end if found is None else found[0]
        connection.execute(f'DELETE FROM "{family}" WHERE key >= ? AND key < ?', (start, bound))
        return bound

    def _delete_expiries(self, start: bytes, end: bytes) -> Iterator[None]:
        place: tuple[int, bytes] | None = _FIRST_EXPIRY
        while place is not None:
            with self._store.transaction() as connection:
                found = self._expiries_behind(connection, place, start, end)
                connection.executemany(_FORGET_EXPIRY, found)
            yield
            place = found[-1] if len(found) == self._delete_rows else None

    def _expiries_behind(
        self, connection: sqlite3.Connection, place: tuple[int, bytes], start: bytes, end: bytes
    ) -> list[tuple[int, bytes]]:
        """Give as many entries of the index of expiries as may go at a time, of rows in a range."""
        return connection.execute(
            "SELECT at, key FROM expiries WHERE (at, key) > (?, ?) AND key >= ? AND key < ? ORDER BY at, key LIMIT ?",
            (*place, start, end, self._delete_rows),
        ).fetchall()

    def _insert(self, kind: int, items: list[bytes]) -> None:
        if kind == EXPIRY_FRAMES:
            self._store.note([(*decode_expiry(item), True) for item in items])
        else:
            self._store.upsert(KINDS[kind], items[::2], list(items[1::2]))

    def touched_by(self, piece: tuple[Any, ...]) -> bool:
        """
        Does a piece of a flush say something about what is being replaced? It mustn't.
        """
        if not self.begun:
            return False
        verb = piece[0]
        if verb == ROWS:
            assert self.head is not None, "it has begun"
            own = {apply_key(region) for region in (self.region, *self.head.sources)}
            return any(self._owns(piece[1], key) or (key in own and piece[1] == "region") for key in piece[2])
        if verb == EXPIRIES:
            return any(self._owns("data", key) for _, key, _ in piece[1])
        ranges: list[tuple[str, bytes, bytes]] = []
        if verb == HIDE:
            ranges = [(piece[1], start, end) for start, end in piece[2]]
        elif verb == DISCARD:
            ranges = piece[1]
        return any(
            family == name and start < last and first < end
            for family, start, end in ranges
            for name, first, last in self._ranges
        )


def _range_of(descriptor: Descriptor) -> tuple[bytes, bytes]:
    return key_range(descriptor.start, descriptor.end)


def _has_rows(rows: Reader, region: int) -> bool:
    """Say whether a region is at work here, so that the rows in its range are its own."""
    row = rows.get("region", apply_key(region))
    return row is not None and ApplyState.decode(row).index > 0


def _without(start: bytes, end: bytes, kept: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield what is left of a range without others, in order."""
    for first, behind in Ranges(kept):
        if start < min(first, end):
            yield start, min(first, end)
        start = max(start, behind)
    if start < end:
        yield start, end


def room_of(items: list[bytes]) -> int:
    """
    @return: about the bytes of data.db that rows will take, at most, from the strings of their frame.
    """
    strings = iter(items)
    # Rows that are as large as half a page and a byte have a page each; a larger one fills all pages but its last.
    return sum(
        size + min(size, PAGE_BYTES) + len(key) + 2 * _ROW_BYTES
        for key, value in zip(strings, strings, strict=False)
        for size in [len(key) + len(value)]
    )


def marks(connection: sqlite3.Connection, data_path: str) -> list[tuple[int, InstallMark]]:
    """
    Find the regions that are half installed.

    @return: (region, what was being installed) of each.
    @raise StorageError: The rows that say so are damaged.
    """
    try:
        return [
            (marked_region(key), InstallMark.decode(value))
            for key, value in Reader(data_path, connection).rising("region")(*MARKS, _MARKS_MAX)
        ]
    except Damaged as problem:
        raise CorruptFile(
            f"{data_path}: {problem}. The file was left as it is; keep a copy, and start this store with an empty "
            "folder under a new id"
        ) from problem


def half_installed(connection: sqlite3.Connection, data_path: str) -> dict[int, str]:
    """
    @return: a sentence for each region that is half installed.
    @raise StorageError: The rows that say so are damaged.
    """
    return {
        region: f"{data_path}: region {region} is half installed: the snapshot of entry {mark.index} in {mark.name} "
        "was on its way in. The next start of the store installs it from that file"
        for region, mark in marks(connection, data_path)
    }


def recover_installs(store: DataStore) -> list[SnapshotHead]:
    """
    Install again what was being installed when the store ended; at a start, before anything is believed.

    @return: what was installed.
    @raise CorruptFile: The file isn't there, or not what it was; nothing was changed.
    @raise StorageError: It couldn't be done; the next start has another try.
    """
    heads: list[SnapshotHead] = []
    for region, mark in marks(store.connection, store.path):
        path = os.path.join(os.path.dirname(store.path), mark.name)
        text = (
            f"{store.path}: region {region} is half installed, and the snapshot that it's to be installed from is not "
            "fit for it. Put the file back, or start this store with an empty folder under a new id"
        )
        try:
            head = read_head(path)
            if (head.region, head.index, head.term) != (region, mark.index, mark.term):
                raise CorruptFile(f"{text} ({path} is another one)")
            installation = Installation(store, region, path)
            for _ in installation.steps():
                if store.wants_checkpoint:
                    store.checkpoint()
        except BadSnapshot as error:
            raise CorruptFile(f"{text} ({error})") from error
        heads.append(head)
    return heads
