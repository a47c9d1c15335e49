"""
The data folder of a store: what lies in it, whose it is, and what a start finds.

    LOCK        held while a process (the store or one of its writers) has the folder open
    raft.db     logs, terms and votes        (+ -wal, -shm while open)
    raft.end    how far the -wal of raft.db is on disk, while open; data.end that of data.db
    data.db     rows; the authority on what is applied (R5)
    data.sum    checksums of the pages of data.db
    ballast     room kept back for a full disk
    snapshots/  files of snapshots, made here or arriving (L{tinykv.storage.snapshot_folder})

Creation goes raft.db first, then data.db, each marked as ours by its last commit. A crash in between leaves
an unmarked file that the next start finishes. A marked data.db without a marked raft.db is refused: its votes
are lost, and a store that forgot its votes must not come back under the same id (R16).
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from twisted.internet.interfaces import IReactorFDSet

from tinykv.errors import Damaged
from tinykv.region.tombstone import decode_tombstone, tombstone_key
from tinykv.storage.ballast import BALLAST_BYTES, Ballast
from tinykv.storage.check import log_checksums
from tinykv.storage.data import DataStore
from tinykv.storage.errors import CorruptFile, DiskFull, FolderInUse, ForeignFile, WrongFolder, from_os
from tinykv.storage.log import (
    Entry,
    HardState,
    LogStore,
    read_base,
    read_entries,
    read_hard_state,
    read_last,
    read_promised,
    read_term,
)
from tinykv.storage.log_end import verify_end
from tinykv.storage.process import ProcessChannel
from tinykv.storage.readahead import ReadAhead
from tinykv.storage.reader import Reader
from tinykv.storage.rowstore import RowStore
from tinykv.storage.schema import (
    Identity,
    Kind,
    check_identity,
    connect_to_look,
    errors_of,
    fsync_folder,
    inspect,
    looks_made,
    open_file,
    read_identity,
    truncate,
    write_identity,
)
from tinykv.storage.slot_sizes import SlotSizes
from tinykv.storage.snapshot_folder import tidy_snapshots
from tinykv.storage.snapshot_install import half_installed, recover_installs
from tinykv.storage.snapshot_maker import ROOM_BYTES, SECONDS_MAX, Run, SnapshotMaker
from tinykv.storage.summer import Summer
from tinykv.storage.sums import PageSums, forget_sums, frames
from tinykv.storage.writers import DataWriter, LogBatch, LogWriter

#: Seconds that an opening waits for the writers of a store that has just died to finish.
PATIENCE: Final = 5.0
_POLL: Final = 0.05
#: What may lie in a folder before its store is made: what a file system or an operator keeps in any folder (hidden
#: files, logs, a process's number, the store's configuration and secret), and what a creation leaves that didn't begin:
#: after a power loss the journal of the first file's first transaction may be there, and the file's name not.
_HARMLESS: Final = re.compile(r"\..*|lost\+found|LOCK|raft\.db-journal|[^.]+\.(ini|log|pid|secret)(\..*)?")
#: Foreign names that a refusal tells.
_TOLD: Final = 3


@dataclass(frozen=True)
class Recovery:
    """
    What a start finds of one region (R5).

    @ivar region: its id.
    @ivar hard_state: what its peer has promised; C{None} if nothing yet.
    @ivar base: (index, term) of the entry before the log's first.
    @ivar applied: (index, term) up to which the rows hold the log's effects; (0, 0) for a new region.
    @ivar apply_state: the row that says so, for the owner of its further contents.
    @ivar last: (index, term) of the log's last entry. A group of one voter takes all of it as committed.
    @ivar commit: the known commit index: commit_hint, but applied where that's less or beyond last.

    Invariant: C{base[0] <= applied[0] <= commit <= last[0]}.
    """

    region: int
    hard_state: HardState | None
    base: tuple[int, int]
    applied: tuple[int, int]
    apply_state: bytes | None
    last: tuple[int, int]
    commit: int


class DataFolder:
    """
    An open data folder. Made by L{open_folder}; until L{start_writers} this process has both files open for
    writing, afterwards the writers have.

    @ivar path: the folder.
    @ivar identity: whose it is.
    @ivar ballast: the room kept back.
    @ivar raft_path: of raft.db.
    @ivar data_path: of data.db.
    """

    def __init__(
        self,
        path: str,
        identity: Identity,
        lock: int,
        raft: sqlite3.Connection,
        data: sqlite3.Connection,
        ballast: Ballast,
    ) -> None:
        self.path = path
        self.identity = identity
        self.ballast = ballast
        self.raft_path = os.path.join(path, Kind.RAFT.value)
        self.data_path = os.path.join(path, Kind.DATA.value)
        self._lock: int | None = lock
        self._raft: sqlite3.Connection | None = raft
        self._data: sqlite3.Connection | None = data

    def recover(self, region: int, row: bytes | None = None) -> Recovery:
        """
        Find where a region stands, and make its log agree with its rows: a log that lacks the applied entry
        is replaced by that as its base. To be called before L{start_writers}.

        @param row: its apply state, where that isn't in data.db yet: it was cut off another region, whose log is being
            replayed.
        @raise CorruptFile: the log begins after what is applied, has a hole, or holds something else than what was
            written; nothing was changed.
        """
        raft, data = self._connections()
        state = row
        if row is None:
            with errors_of(self.data_path):
                state = Reader(self.data_path, data).get("region", b"apply" + region.to_bytes(8, "big"))
                tombstone = Reader(self.data_path, data).get("region", tombstone_key(region))
            if state is None and tombstone is not None:
                self._forget_buried(region, tombstone)
        if state is not None and len(state) < 16:
            raise CorruptFile(
                f"{self.data_path}: the apply state of region {region} is too short. The file was left as "
                "it is; keep a copy, and start this store with an empty folder under a new id"
            )
        applied = (0, 0)
        if state is not None:
            applied = (int.from_bytes(state[:8], "big"), int.from_bytes(state[8:16], "big"))
        with errors_of(self.raft_path):
            base = read_base(raft, region)
            if base[0] > applied[0]:
                raise CorruptFile(
                    f"{self.raft_path}: the log of region {region} begins after entry {base[0]}, but the "
                    f"rows in {self.data_path} hold it only up to entry {applied[0]}. The files don't "
                    "belong together, or one was put back from a copy; they were left as they are. Start "
                    "this store with an empty folder under a new id"
                )
            last = read_last(raft, region)
            term = read_term(raft, region, applied[0])
            if term is None and last[0] > applied[0]:
                raise CorruptFile(
                    f"{self.raft_path}: entry {applied[0]} of region {region} is missing, though there are later ones. "
                    "The file was left as it is; keep a copy, and start this store with an empty folder under a new id"
                )
            if term != applied[1]:
                batch = LogBatch()
                batch.reset(region, *applied)
                LogStore(raft, self.raft_path, noting=False).write(batch.operations)
                truncate(raft, self.raft_path)
                base = last = applied
            hard_state = read_hard_state(raft, region)
        hint = hard_state.commit_hint if hard_state is not None else 0
        # One beyond the log's end was written with a snapshot that wasn't installed, and says nothing of this log.
        commit = max(hint, applied[0]) if hint <= last[0] else applied[0]
        return Recovery(region, hard_state, base, applied, state, last, commit)

    def _forget_buried(self, region: int, tombstone: bytes) -> None:
        """
        Delete what raft.db has of a peer that was destroyed: the store ended between the two files (R5 a).

        @raise CorruptFile: That can't be told.
        """
        raft, _ = self._connections()
        with errors_of(self.raft_path):
            promised = read_hard_state(raft, region)
            try:
                left = promised is not None and promised.peer <= decode_tombstone(tombstone)
            except Damaged as problem:
                raise CorruptFile(f"{self.data_path}: {problem} (region {region})") from problem
            if left:
                batch = LogBatch()
                batch.forget(region)
                LogStore(raft, self.raft_path, noting=False).write(batch.operations)
                truncate(raft, self.raft_path)

    def entries(self, region: int, after: int) -> Iterator[Entry]:
        """
        Yield the entries of a region's log above C{after}, read some at a time. To be used up before
        L{start_writers}.

        @raise CorruptFile: one is missing.
        """
        raft, _ = self._connections()
        return read_entries(raft, self.raft_path, region, after)

    def promised(self) -> dict[int, int]:
        """
        Give behind which entry the log begins of each region whose peer has promised something, by id. To be called
        before L{start_writers}.

        @raise CorruptFile: it isn't what was written.
        """
        raft, _ = self._connections()
        with errors_of(self.raft_path):
            return read_promised(raft)

    def set_cluster(self, cluster_id: str) -> None:
        """
        Write down the cluster's id, once it is known. To be called before L{start_writers}.
        """
        raft, data = self._connections()
        identity = Identity(self.identity.store_id, cluster_id, self.identity.folder_id)
        write_identity(raft, self.raft_path, Kind.RAFT, identity)
        write_identity(data, self.data_path, Kind.DATA, identity)
        _tidy(raft, self.raft_path)
        _tidy(data, self.data_path)
        self.identity = identity

    def begun_with(self, regions: int) -> int:
        """
        Say with how many regions the store began; if it's yet to begin, that's so many from now on. Durable on return.
        To be called before L{start_writers}.
        """
        raft, _ = self._connections()
        with errors_of(self.raft_path):
            found = raft.execute("SELECT value FROM meta WHERE name = 'regions'").fetchone()
            if found is not None:
                return int(found[0])
            if raft.execute("SELECT 1 FROM hard_state LIMIT 1").fetchone() is not None:
                return 1
            raft.execute("INSERT INTO meta (name, value) VALUES ('regions', ?)", (str(regions),))
        _tidy(raft, self.raft_path)
        return regions

    def rewrite(self, region: int, applied: tuple[int, int], key: bytes, value: bytes) -> None:
        """
        Write a row of family C{region} by hand, which only whoever recovers a cluster should do: replicas differ then
        from what the log says. So what is applied is cut off the log before, and whoever needs that gets a snapshot.
        Durable on return. To be called before L{start_writers}.

        @param applied: index and term of the last entry that the rows contain.
        """
        raft, data = self._connections()
        batch = LogBatch()
        batch.cut(region, *applied)
        LogStore(raft, self.raft_path, noting=False).write(batch.operations)
        truncate(raft, self.raft_path)
        self._data = None
        store = DataStore(data, self.data_path)
        try:
            with store.transaction():
                store.upsert("region", [key], [value])
        finally:
            store.close()
        self._data = open_file(self.data_path, Kind.DATA)

    def start_writers(self, reactor: IReactorFDSet, *, fsync: bool = True) -> tuple[LogWriter, DataWriter]:
        """
        Hand the files over to the writers' processes.

        @param fsync: C{False} for durability C{os}.
        @return: the writers. The folder is to be closed after both, and after whoever reads data.db.
        """
        self.release_files()
        log = ProcessChannel(reactor, "log", self.raft_path, lock=self._lock, fsync=fsync)
        data = ProcessChannel(reactor, "data", self.data_path, lock=self._lock)
        return LogWriter(log), DataWriter(data)

    def start_reader(self, reactor: IReactorFDSet, rows: RowStore) -> ReadAhead:
        """
        Start the process that reads ahead; it's to be closed before the writers.

        @param rows: where what it reads goes.
        """
        return ReadAhead(ProcessChannel(reactor, "read", self.data_path), rows)

    def snapshot_maker(
        self, reactor: IReactorFDSet, run: Run, *, seconds_max: float = SECONDS_MAX, room_bytes: int = ROOM_BYTES
    ) -> SnapshotMaker:
        """
        Give what makes snapshots; it's to be closed before the writers.

        @param run: runs deletions where nobody has to wait for them: a thread will do.
        @param seconds_max: how long a snapshot's transaction may take.
        @param room_bytes: what has to stay free on the disk.
        """

        def start() -> ProcessChannel:
            # Should the store die, nobody opens the folder before the process has noticed.
            return ProcessChannel(reactor, "snapshot", self.data_path, lock=self._lock)

        return SnapshotMaker(self.path, start, run, seconds_max=seconds_max, room_bytes=room_bytes)

    def summer(self, reactor: IReactorFDSet) -> Summer:
        """
        Give what sums up rows; it's to be closed before the writers.
        """
        return Summer(lambda: ProcessChannel(reactor, "sum", self.data_path, lock=self._lock))

    def slot_sizes(self, reactor: IReactorFDSet) -> SlotSizes:
        """
        Give what measures slots; it's to be closed before the writers.
        """
        return SlotSizes(lambda: ProcessChannel(reactor, "sizes", self.data_path, lock=self._lock))

    def release_files(self) -> None:
        """
        Close this process's connections; somebody else opens the files now.
        """
        for connection in (self._raft, self._data):
            if connection is not None:
                connection.close()
        self._raft = self._data = None

    def close(self) -> None:
        """
        Close what is open and give the lock up.
        """
        self.release_files()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connections(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        assert self._raft is not None and self._data is not None, "the writers have the files"
        return self._raft, self._data


def open_folder(
    path: str,
    store_id: int,
    cluster_id: str = "",
    *,
    ballast_bytes: int = BALLAST_BYTES,
    disk_low_bytes: int = 2 * BALLAST_BYTES,
    patience: float = PATIENCE,
) -> DataFolder:
    """
    Open a data folder, making it if it doesn't exist.

    @param cluster_id: empty if not known (yet): then any is accepted.
    @param ballast_bytes: room to keep back; not taken if the disk would be low then.
    @param disk_low_bytes: with less free space than this the disk counts as low.
    @param patience: seconds to wait for another process to give the folder up.
    @raise StorageError: it can't be used as it is; nothing was changed.
    """
    path = os.path.abspath(path)
    with errors_of(path):
        _make_folder(path)
        _refuse_foreign(path)
    lock = lock_folder(path, patience)
    try:
        identity = _peek(path, store_id, cluster_id)
        ballast = Ballast(os.path.join(path, "ballast"), ballast_bytes, low_bytes=disk_low_bytes)
        try:
            raft, data = _open_files(path, identity)
        except DiskFull:
            # Bringing the write-ahead logs into the files takes room; this is what it was kept back for.
            if not ballast.release():
                raise
            raft, data = _open_files(path, identity)
        tidy_snapshots(path)
        ballast.restore()
    except BaseException:
        os.close(lock)
        raise
    return DataFolder(path, identity, lock, raft, data, ballast)


def _open_files(path: str, identity: Identity) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """
    Open both files, raft.db first, and make what isn't there. All that is read from them is on disk (R7).
    """
    opened: list[sqlite3.Connection] = []
    try:
        for kind in Kind:
            name = os.path.join(path, kind.value)
            if kind is Kind.DATA:
                with errors_of(name):
                    _settle_sums(name)
            connection = open_file(name, kind)
            if kind is Kind.DATA and half_installed(connection, name):
                connection = _finish_installs(connection, name)
            opened.append(connection)
            if read_identity(connection, name) is None:
                write_identity(connection, name, kind, identity)
                _tidy(connection, name)
        with errors_of(path):
            fsync_folder(path)
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    return opened[0], opened[1]


def _finish_installs(connection: sqlite3.Connection, path: str) -> sqlite3.Connection:
    """
    Install the snapshots that were on their way in, before anything is believed (R10).

    @return: a connection to use afterwards.
    """
    try:
        store = DataStore(connection, path)
        recover_installs(store)
    except BaseException:
        connection.close()
        raise
    # Closing brings it into the file, and its checksums up to date.
    store.close()
    return open_file(path, Kind.DATA)


def _tidy(connection: sqlite3.Connection, path: str) -> None:
    """
    Bring what was just committed into the file; into data.db, once its checksums know of it.
    """
    with errors_of(path):
        sums = PageSums.load(path)
        if sums is not None:
            sums.prepare()
        truncate(connection, path)


def _settle_sums(path: str) -> None:
    """
    Bring the write-ahead log of data.db into the file, and the checksums of its pages up to date with that.
    """
    pending = {page for page, _, _ in frames(path)}
    sums = PageSums.load(path)
    if sums is not None and not pending:
        return
    forget_sums(path)
    open_file(path, Kind.DATA).close()
    if sums is None:
        sums = PageSums.of_file(path)
    sums.refresh(pending)
    sums.save()


def _verify(raft_path: str, data_path: str) -> None:
    """
    Compare what lies in the files with their checksums, before anything is changed. data.db may be large, so its pages
    are read as they are, and its rows are compared when they are read.

    @raise CorruptFile: something is wrong; nothing was changed.
    """
    if looks_made(raft_path):
        with errors_of(raft_path):
            verify_end(raft_path)
            connection = connect_to_look(raft_path)
            try:
                ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
                problem = f"{raft_path}: {found}" if found != "ok" else next(log_checksums(connection, raft_path), None)
            finally:
                connection.close()
        if problem is not None:
            raise CorruptFile(
                f"{problem}. The file was left as it is; keep a copy, and start this store with an empty folder under "
                "a new id"
            )
    if looks_made(data_path):
        with errors_of(data_path):
            verify_end(data_path)
            sums = PageSums.load(data_path)
            if sums is not None:
                sums.verify({page for page, _, _ in frames(data_path)})


def _make_folder(path: str) -> None:
    """
    Make a folder and its parents, each name durable in the one above.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    _make_folder(parent)
    os.mkdir(path, 0o700)
    fsync_folder(parent)


def _refuse_foreign(path: str) -> None:
    """
    See that a store isn't made among somebody else's files, as when the folder's name was mistyped.

    @raise ForeignFile: no store was begun here, and there are other files; nothing was changed.
    """
    names = os.listdir(path)
    if any(kind.value in names for kind in Kind):
        return
    foreign = sorted(name for name in names if not _HARMLESS.fullmatch(name))
    if foreign:
        more = f" and {len(foreign) - _TOLD} more" if len(foreign) > _TOLD else ""
        raise ForeignFile(
            f"{path}: there is no store here, but other files: {', '.join(foreign[:_TOLD])}{more}. A new store needs "
            "an empty folder of its own; if one was here, put its raft.db and data.db back"
        )


def lock_folder(path: str, patience: float) -> int:
    """
    Take the folder for this process, and for those that inherit the lock.

    @param patience: seconds to wait for another process to give it up.
    @return: a descriptor that holds the lock as long as any copy of it is open.
    @raise FolderInUse: it wasn't given up.
    """
    name = os.path.join(path, "LOCK")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os(error, name) from error
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < until:
                # Only while a daemon starts, when there is no reactor to wait with.
                time.sleep(_POLL)
                continue
            os.close(descriptor)
            raise FolderInUse(
                f"{path}: another TinyKV has this folder open. One folder serves one store; stop the other "
                "one, or give this one a folder of its own"
            ) from error
        return descriptor


def _peek(path: str, store_id: int, cluster_id: str) -> Identity:
    """
    Look at both files, before anything may change them.

    @return: the folder's identity, or a new one if the folder's creation was never finished.
    @raise WrongFolder: it is somebody else's, or its files don't belong together.
    """
    raft_path = os.path.join(path, Kind.RAFT.value)
    data_path = os.path.join(path, Kind.DATA.value)
    raft = inspect(raft_path, Kind.RAFT)
    data = inspect(data_path, Kind.DATA)
    if data is not None and raft is None:
        raise WrongFolder(
            f"{path}: data.db is there, but raft.db is missing, and with it the store's votes. Put the "
            "file back, or start this store with an empty folder under a new id"
        )
    if raft is None:
        return Identity(store_id, cluster_id, uuid4().hex)
    check_identity(raft_path, raft, store_id, cluster_id)
    if data is None:
        _refuse_used(path, raft_path)
    else:
        check_identity(data_path, data, store_id, cluster_id)
        if data.folder_id != raft.folder_id:
            raise WrongFolder(
                f"{path}: raft.db and data.db come from different folders. Put the right ones back "
                "together, or start this store with an empty folder under a new id"
            )
    _verify(raft_path, data_path)
    return raft


def _refuse_used(path: str, raft_path: str) -> None:
    """
    There is no data.db: fine only if the folder's creation stopped before it.
    """
    with errors_of(raft_path):
        connection = connect_to_look(raft_path)
        try:
            used = any(
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
                for table in ("log", "hard_state", "log_base")
            )
        finally:
            connection.close()
    if used:
        raise WrongFolder(
            f"{path}: raft.db is there and in use, but data.db is missing or empty, and with it the "
            "store's rows. Put the file back, or start this store with an empty folder under a new id"
        )
