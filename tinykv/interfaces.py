"""
Where the layers meet: what the parts above may ask of the parts below, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from tinykv.redis.execution import Execution
    from tinykv.redis.operations import Client, Operation
    from tinykv.redis.spec import CommandSpec
    from tinykv.storage.errors import StorageError
    from tinykv.storage.tables import MemTable
    from tinykv.storage.writers import LogBatch


class ILogWriter(Interface):
    """
    Makes batches of log entries, votes and terms durable, in the order in which they were given.
    """

    def write(batch: LogBatch, done: Callable[[], None]) -> None:
        """
        Take a batch over; it mustn't be changed afterwards.

        C{done} is called in a later turn when it is durable, after the C{done} of every earlier batch.
        Batches that wait together become durable together, with one fsync. After a failure no C{done} is
        called any more.
        """

    def failed(callback: Callable[[StorageError], None]) -> None:
        """
        Register what is called, once, with the error that ended the writer. The store has to stop: what was
        not reported durable may be so or not, and no retry can tell.
        """

    def close() -> Deferred[None]:
        """
        Take no more batches.

        @return: fires when all batches are durable and the file is closed; fails with a StorageError.
        """


class IDataWriter(Interface):
    """
    Writes frozen memory tables into data.db, in the order in which they were given, each in one transaction.
    """

    def flush(table: MemTable, done: Callable[[], None]) -> None:
        """
        Take a frozen table. Its live objects are encoded some at a time, in later turns.

        C{done} is called when the table is committed: the time to retire it and to cut the log behind it.
        """

    def failed(callback: Callable[[StorageError], None]) -> None:
        """
        Register what is called, once, with the error that ended the writer. The store has to stop.
        """

    def close() -> Deferred[None]:
        """
        Take no more tables.

        @return: fires when all tables are committed and the file is closed; fails with a StorageError.
        """


class IRegionHost(Interface):
    """
    Where the RESP ports take commands on data to: the part of a store that proposes and applies.

    An operation is a tuple as L{tinykv.redis.operations} describes. Its client is answered in a later turn, in the
    order in which that client's operations were given.
    """

    start_id: int = Attribute("Names this run of the store.")
    execution: Execution = Attribute("The commands at work on the data.")
    table_bytes: int = Attribute("Memory of changes that aren't in data.db yet.")

    def submit(operation: Operation) -> None:
        """
        Take an operation in for this turn's proposal.
        """

    def read(client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """
        Run a read now, by the clock: linearizable, since everything acknowledged has been applied.

        @return: The reply; None if the client is answered later, because a key's expiry must be applied first.
        """

    def refusal(spec: CommandSpec) -> bytes | None:
        """
        @return: Why a command can't be taken now (an error reply), or None if it can.
        """
