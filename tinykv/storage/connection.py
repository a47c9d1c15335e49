"""
Connections to the two files, with every setting said explicitly.

The writing connection of a file is the only one that commits and checkpoints (R8): SQLite before 3.51.3 can
corrupt a file when one connection commits while another checkpoints. Nothing checkpoints by itself
(C{wal_autocheckpoint=0}); the writer does it between two transactions.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Final
from urllib.parse import quote

#: Bytes of a page, chosen when a file is created.
PAGE_BYTES: Final = 4096
#: KiB of pages that the writer of a file keeps in memory.
WRITER_CACHE_KIB: Final = 32 * 1024
#: KiB of pages that the reader keeps; a flush empties it, then the system's cache answers.
READER_CACHE_KIB: Final = 32 * 1024
#: For who reads a page once, and leaves it to the system to keep it.
PASSING_CACHE_KIB: Final = 2 * 1024

# Of every parameter that isn't a number, a string or a bytearray, the module sqlite3 asks how it's to be adapted. For
# bytes nobody says so, and finding that out takes longer than handing them over: an error is made and caught.
sqlite3.register_adapter(bytes, bytes.__bytes__)


def connect_writer(path: str) -> sqlite3.Connection:
    """
    Open a file for writing, creating it if need be. Transactions are begun and ended explicitly.

    @raise sqlite3.Error: as SQLite says; a damaged or foreign file is found here or at the first statement.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, cached_statements=64)
    try:
        execute = connection.execute
        execute(f"PRAGMA page_size = {PAGE_BYTES}")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        if sys.platform == "darwin":
            execute("PRAGMA fullfsync = ON")
            execute("PRAGMA checkpoint_fullfsync = ON")
        execute("PRAGMA wal_autocheckpoint = 0")
        execute("PRAGMA mmap_size = 0")
        # Some builds (Debian's) zero what is deleted, so that a cut of the log or a FLUSHALL would write as much as it
        # frees, and needs that much room on a disk that may be full.
        execute("PRAGMA secure_delete = OFF")
        execute("PRAGMA temp_store = MEMORY")
        execute("PRAGMA trusted_schema = OFF")
        execute("PRAGMA cell_size_check = ON")
        execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: str, *, cache_kib: int = READER_CACHE_KIB) -> sqlite3.Connection:
    """
    Open an existing file for reading only.

    @param cache_kib: memory for pages; little will do where each is read about once.
    """
    uri = f"file:{quote(path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0, cached_statements=64)
    try:
        execute = connection.execute
        execute("PRAGMA query_only = ON")
        execute("PRAGMA wal_autocheckpoint = 0")
        execute("PRAGMA mmap_size = 0")
        execute("PRAGMA trusted_schema = OFF")
        execute(f"PRAGMA cache_size = -{cache_kib}")
    except BaseException:
        connection.close()
        raise
    return connection
