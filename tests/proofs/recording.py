"""
A disk that remembers: every write, truncation, sync and deletion that SQLite does, in order, and the files that a loss
of power could have left at any moment of it.

The recording happens in SQLite's own VFS layer, within the library that Python's C{sqlite3} uses: what stands above is
the production code, unchanged, with the connections that it opens itself. (C{apsw} brings another SQLite along, of
another version, so a VFS made with it would record that one.) SQLite opens a file as ever, and then finds three of its
methods replaced by ones that take notes and call the original.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

WRITE = "write"
TRUNCATE = "truncate"
CREATE = "create"
DELETE = "delete"
SYNC = "sync"
#: A file was replaced as a whole, durably; or durably deleted, then its content is None.
REPLACE = "replace"
#: What happened above the disk: a reply was sent, the folder's names were made durable.
MARK = "mark"

_OK = 0
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_OFFSET = ctypes.c_int64
_DELETE = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT)
# Paths are passed on as pointers: SQLite keeps options behind a path, and the pointer itself.
_OPEN = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER, _INT, ctypes.POINTER(_INT))
_WRITE = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, _OFFSET)
_TRUNCATE = ctypes.CFUNCTYPE(_INT, _POINTER, _OFFSET)
_SYNC = ctypes.CFUNCTYPE(_INT, _POINTER, _INT)


class _Vfs(ctypes.Structure):
    """The head of C{sqlite3_vfs}, version 3, as the header of SQLite declares it."""

    _fields_ = [
        ("version", _INT),
        ("file_bytes", _INT),
        ("path_max", _INT),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("delete", _POINTER),
        ("rest", _POINTER * 16),
    ]


class _Methods(ctypes.Structure):
    """C{sqlite3_io_methods}, version 3."""

    _fields_ = [
        ("version", _INT),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _POINTER),
        ("truncate", _POINTER),
        ("sync", _POINTER),
        ("rest", _POINTER * 13),
    ]


class _File(ctypes.Structure):
    """The head of every C{sqlite3_file}."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


def library() -> ctypes.CDLL | None:
    """Give the SQLite that Python's C{sqlite3} uses; None if its functions can't be reached from here."""
    # The lookup goes on into what a library was linked with. A built-in module has no file: then it's the program.
    found = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    return found if hasattr(found, "sqlite3_vfs_register") else None


@dataclass(frozen=True, slots=True)
class Event:
    """
    One thing that happened.

    @ivar file: Name of the file in the folder; empty for a mark.
    @ivar offset: Of a write; the size after a truncation.
    @ivar detail: Of a write: the bytes. Of a creation: what it begins with. Of a mark: whatever it says.
    """

    kind: str
    file: str = ""
    offset: int = 0
    detail: Any = b""


class Recorder:
    """
    Records what SQLite does to the files in a folder; a context manager. Connections have to be closed before its end.

    @ivar events: What happened so far.
    @param replaced: Names of files that aren't SQLite's, and are always replaced as a whole and durably.
    @param noted: Names of files that aren't SQLite's, and are written as a whole without any sync, but deleted durably.
        All are looked at whenever SQLite does something.
    """

    def __init__(self, folder: str, *, replaced: Sequence[str] = (), noted: Sequence[str] = ()) -> None:
        self.events: list[Event] = []
        self._folder = os.path.abspath(folder) + os.sep
        self._seen = {name: self._content(name) for name in (*replaced, *noted)}
        self._noted = noted
        self._names: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        found = library()
        assert found is not None
        self._library = found
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        self._library.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), _INT]
        self._library.sqlite3_vfs_unregister.argtypes = [ctypes.POINTER(_Vfs)]
        self._original = self._library.sqlite3_vfs_find(None)
        self._vfs = _Vfs.from_buffer_copy(self._original.contents)
        self._name = b"tinykv-recorder-%d" % id(self)
        self._open = _OPEN(self._opened)
        self._delete = _DELETE(self._deleted)
        #: The callbacks that SQLite holds pointers to.
        self._callbacks: list[Any] = [self._open, self._delete]
        self._vfs.name = self._name
        self._vfs.open = ctypes.cast(self._open, _POINTER)
        self._vfs.delete = ctypes.cast(self._delete, _POINTER)

    def __enter__(self) -> Recorder:
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        return self

    def __exit__(self, *_: object) -> None:
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        self._library.sqlite3_vfs_register(self._original, 1)

    def mark(self, what: Any) -> None:
        """Note what happened above the disk."""
        self._note(Event(MARK, detail=what))

    def _content(self, name: str) -> bytes | None:
        try:
            return Path(self._folder + name).read_bytes()
        except FileNotFoundError:
            return None

    def _note(self, event: Event) -> None:
        for name, seen in self._seen.items():
            content = self._content(name)
            if content == seen:
                continue
            self._seen[name] = content
            if name not in self._noted or content is None:
                self.events.append(Event(REPLACE, name, detail=content))
            elif seen is None:
                self.events.append(Event(CREATE, name, detail=content))
            else:
                self.events.append(Event(WRITE, name, 0, content))
        self.events.append(event)

    def _own(self, path: int | None) -> str | None:
        """Give the name of a file in the folder; None for any other, and for the index that is only memory."""
        if path is None:
            return None
        text = os.fsdecode(ctypes.string_at(path))
        return text[len(self._folder) :] if text.startswith(self._folder) and not text.endswith("-shm") else None

    def _opened(self, _: int, path: int | None, file: int, flags: int, out: Any) -> int:
        name = self._own(path)
        existed = name is None or os.path.exists(self._folder + name)
        status: int = _OPEN(self._original.contents.open)(
            ctypes.cast(self._original, _POINTER), path, file, flags, out
        )
        if status != _OK or name is None:
            return status
        if not existed:
            self._note(Event(CREATE, name))
        self._names[file] = name
        head = ctypes.cast(file, ctypes.POINTER(_File)).contents
        address = ctypes.addressof(head.methods.contents)
        if address not in self._tables:
            self._tables[address] = self._recording(head.methods.contents)
        head.methods = ctypes.pointer(self._tables[address])
        return status

    def _deleted(self, _: int, path: int, durably: int) -> int:
        status: int = _DELETE(self._original.contents.delete)(ctypes.cast(self._original, _POINTER), path, durably)
        name = self._own(path)
        if status == _OK and name is not None:
            self._note(Event(DELETE, name))
            if durably:
                self.mark(NAMES)
        return status

    def _recording(self, original: _Methods) -> _Methods:
        """Make a file's methods that take notes."""
        methods = _Methods.from_buffer_copy(original)
        write, truncate, sync = _WRITE(original.write), _TRUNCATE(original.truncate), _SYNC(original.sync)

        def do_write(file: int, data: int, length: int, offset: int) -> int:
            self._note(Event(WRITE, self._names[file], offset, ctypes.string_at(data, length)))
            return int(write(file, data, length, offset))

        def do_truncate(file: int, size: int) -> int:
            self._note(Event(TRUNCATE, self._names[file], size))
            return int(truncate(file, size))

        def do_sync(file: int, flags: int) -> int:
            status = int(sync(file, flags))
            self._note(Event(SYNC, self._names[file]))
            return status

        replaced = {"write": _WRITE(do_write), "truncate": _TRUNCATE(do_truncate), "sync": _SYNC(do_sync)}
        for field, callback in replaced.items():
            setattr(methods, field, ctypes.cast(callback, _POINTER))
            self._callbacks.append(callback)
        return methods


#: The mark that says that the names in the folder are durable as of now.
NAMES = "names"

#: Chooses which of some operations reach the disk, the last of them perhaps only in part.
Choice = Callable[[list[Event], Random], list[Event]]


def nothing(pending: list[Event], random: Random) -> list[Event]:
    """Nothing that wasn't synced reached the disk."""
    return []


def everything(pending: list[Event], random: Random) -> list[Event]:
    """The disk was as quick as the program."""
    return pending


def some(pending: list[Event], random: Random) -> list[Event]:
    """Some did, in whatever order; what was written to a file that didn't get its name is lost with it."""
    share = random.random()
    chosen: list[Event] = []
    nameless = False
    for event in pending:
        taken = random.random() < share
        if event.kind == CREATE:
            nameless = not taken
        if taken and not nameless:
            chosen.append(event)
    return chosen


def torn(pending: list[Event], random: Random) -> list[Event]:
    """All up to one did, and that one in part: up to some byte, or in sectors of 512."""
    writes = [place for place, event in enumerate(pending) if event.kind == WRITE]
    if not writes:
        return pending[: random.randint(0, len(pending))]
    place = writes[-1] if random.random() < 0.5 else random.choice(writes)
    last = pending[place]
    parts: list[Event] = []
    if random.random() < 0.5:
        parts.append(Event(WRITE, last.file, last.offset, last.detail[: random.randrange(len(last.detail))]))
    else:
        for start in range(0, len(last.detail), 512):
            if random.random() < 0.5:
                parts.append(Event(WRITE, last.file, last.offset + start, last.detail[start : start + 512]))
    return pending[:place] + parts


class _DiskFile:
    """
    One file, as the disk has it and as it may have it.

    @ivar durable: What is surely there; None if there is no such name.
    @ivar pending: What the program did since, not synced.
    """

    def __init__(self, durable: bytearray | None = None) -> None:
        self.durable = durable
        self.pending: list[Event] = []


class Disk:
    """
    The files of a folder, played forward event by event.

    @param files: What is surely on the disk at the beginning.
    """

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._files = {name: _DiskFile(bytearray(content)) for name, content in (files or {}).items()}

    def play(self, event: Event) -> None:
        """Take in what happened next."""
        if event.kind == MARK:
            if event.detail == NAMES:
                self._names_durable()
            return
        if event.kind == REPLACE:
            self._files[event.file] = _DiskFile(None if event.detail is None else bytearray(event.detail))
            return
        file = self._files.setdefault(event.file, _DiskFile())
        if event.kind != SYNC:
            file.pending.append(event)
            return
        if event.file.endswith(("-wal", "-journal")):
            # With the first sync of such a file SQLite syncs the folder too.
            self._names_durable()
        if file.durable is None and file.pending and file.pending[0].kind == CREATE:
            # Its content is on the disk, but under no name yet that is sure to be there.
            file.pending = [Event(CREATE, event.file, detail=bytes(_applied(None, file.pending) or b""))]
            return
        file.durable = _applied(file.durable, file.pending)
        file.pending = []

    def _names_durable(self) -> None:
        for file in self._files.values():
            names = [event.kind in (CREATE, DELETE) for event in file.pending]
            if any(names):
                last = len(names) - names[::-1].index(True)
                file.durable = _applied(file.durable, file.pending[:last])
                file.pending = file.pending[last:]

    def image(self, choose: Choice, random: Random) -> dict[str, bytes]:
        """Give the files that a loss of power now may leave, each chosen for itself."""
        found: dict[str, bytes] = {}
        for name, file in self._files.items():
            content = _applied(None if file.durable is None else bytearray(file.durable), choose(file.pending, random))
            if content is not None:
                found[name] = bytes(content)
        return found


def _applied(content: bytearray | None, events: Iterable[Event]) -> bytearray | None:
    """Do what was done to a file; what was done to one whose name didn't reach the disk is lost with it."""
    for event in events:
        if event.kind == CREATE:
            content = bytearray(event.detail)
        elif event.kind == DELETE:
            content = None
        elif content is None:
            continue
        elif event.kind == TRUNCATE:
            if event.offset < len(content):
                del content[event.offset :]
            else:
                content.extend(bytes(event.offset - len(content)))
        elif event.detail:
            if len(content) < event.offset:
                content.extend(bytes(event.offset - len(content)))
            content[event.offset : event.offset + len(event.detail)] = event.detail
    return content


def lay_out(image: dict[str, bytes], folder: Path) -> None:
    """Make a folder that holds an image, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, content in image.items():
        (folder / name).write_bytes(content)
