"""
Runs operations against a region's keyspace, one after another, each of them wholly or not at all.

The same code runs on the peer that leads, with clients to answer, and on all others and at replay, with nobody: what
an entry does may depend on nothing but the entry and the region's rows (R12 of the design).

A command that fails unexpectedly is undone and answered with an error (R14), alike on every replica; a failure of
what lies below (memory, disk) goes up instead, before the entry counts as applied, and stops the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tinykv.errors import CommandError, Fault, OutOfTime
from tinykv.keys import ALL_SLOTS, slot_of
from tinykv.redis.context import Context, MustWait
from tinykv.redis.keyspace import Database, Keyspace
from tinykv.redis.operations import COMMANDS, EXEC, INTERNAL, NOBODY, WAITING, Client, Operation
from tinykv.redis.ownership import NOT_HERE, lie_in, owns
from tinykv.redis.sampling import Chance
from tinykv.redis.spec import CommandSpec
from tinykv.redis.spreading import CROSS_SLOT
from tinykv.redis.value import Value
from tinykv.redis.waiters import Origin, Waiter, Waiters
from tinykv.resp import replies

_INTERNAL_ERROR = replies.error(b"ERR internal error: the command was undone; the log of the store has the details")
_CUT_OFF = replies.error(
    b"CLUSTERDOWN this store was cut off from the one that leads, so that its clients don't wait any more; nothing was "
    b"done"
)
_UNBLOCKED = replies.error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")


def _tell_elsewhere(operation: Operation) -> None:
    """Tell a client that its command isn't for this region."""
    operation[1].answer(operation[2], NOT_HERE)


def _alike(operations: list[Operation], place: int) -> Iterator[list[bytes]]:
    """Give the arguments of an operation, and of those behind it that are of the same command and database."""
    _, _, _, db, spec, _, _ = operations[place]
    for at in range(place, len(operations)):
        kind, _, _, other_db, other, arguments, _ = operations[at]
        if other is not spec or other_db != db or kind != COMMANDS:
            return
        yield arguments


class Execution:
    """
    A region's commands at work.

    @ivar run: Runs one operation of the log and answers its client; L{run_within}, where there are other regions.
    @ivar narrow: Whether there are other regions.
    @ivar start_id: Names this run of the store, by which it knows its own waiters.
    @ivar calls: How often each command ran, by name; for metrics.
    @ivar keyspace: The data.
    @ivar waiting_client: Gives the client of this store, by its id, that waits with the request of a number.
    @ivar summing: Told the name of each checksum that an entry asks for, when all that is before it has been done.
    @ivar splitting: Splits the region, as an entry says, when all that is before it has been done.
    @ivar merging: Does what an entry says that is about the merge of two regions, likewise.
    @ivar elsewhere: Takes operations of which nothing was done, since their keys don't lie in this region.
    @ivar refused: Told of a command that was answered with an error: its client, its name, and the error's text.
    @ivar waiters: The clients that wait.
    @ivar reads: How many reads ran here, and C{read_bytes} how many bytes were their replies.
    @ivar sampling: Whether the last read is kept for whoever wants to know what is read, in C{sampled}: its command,
        None for a transaction, and its arguments.
    """

    def __init__(
        self,
        keyspace: Keyspace,
        table: Mapping[str, CommandSpec],
        *,
        start_id: int,
        random: Chance,
        defect: Callable[[str, BaseException], None],
    ) -> None:
        self.keyspace = keyspace
        self.table = table
        self.start_id = start_id
        self.waiters = Waiters(keyspace.rows, keyspace.region)
        self.context = Context(keyspace)
        self.time = 0
        self.reads = 0
        self.read_bytes = 0
        self.sampling = False
        self.sampled: tuple[CommandSpec | None, Any] | None = None
        self._defect = defect
        self.refused: Callable[[Client, str, bytes], None] = lambda client, name, text: None
        self.summing: Callable[[bytes], None] = lambda name: None
        self.splitting: Callable[[list[bytes]], None] = lambda arguments: None
        self.merging: Callable[[list[bytes]], None] = lambda arguments: None
        self.elsewhere: Callable[[Operation], None] = _tell_elsewhere
        self.waiting_client: Callable[[int, int], Client] = lambda client_id, number: NOBODY
        self._distant_client: Callable[[Origin], Client | None] = lambda origin: None
        self._random = random
        #: Keys for whose waiters there may be something, in the order in which they became ready.
        self._ready: dict[tuple[int, bytes], None] = {}
        self._seed = 0
        self._place = 0
        #: Clients of this store that waited here, and wait in a part that was cut off.
        self._ceded: set[Origin] = set()
        self.run: Callable[[Operation], None] = self._run
        self._look_at_range()

    def _look_at_range(self) -> None:
        """Look at the keys of each command, unless all keys lie in this region."""
        self.narrow = self.keyspace.slots != ALL_SLOTS
        self.run = self.run_within if self.narrow else self._run

    # Entries

    def begin_entry(self, time: int, seed: int) -> None:
        """Begin an entry: its time becomes the region's, its seed feeds the commands' randomness."""
        assert time >= self.time, "an entry's time never falls behind the region's"
        self.time = time
        self.keyspace.region_time = time
        self._seed = seed
        self._place = 0

    def run_all(self, operations: list[Operation]) -> None:
        """Run operations of the log, none of which is a read."""
        place = 0
        while place < len(operations):
            place += self.run_from(operations, place)

    def run_from(self, operations: list[Operation], place: int) -> int:
        """
        Run the operation of the log at a place, and those behind it that can be run with it in one go.

        @return: How many were run.
        """
        operation = operations[place]
        spec = operation[4]
        if (
            operation[0] == COMMANDS
            and spec.run_many is not None
            and place + 1 < len(operations)
            and operations[place + 1][4] is spec
            and not self.waiters.by_origin
            and (done := self._run_alike(operations, place))
        ):
            return done
        self.run(operation)
        return 1

    def _run_alike(self, operations: list[Operation], place: int) -> int:
        """Run commands alike in one go, and answer their clients; say how many: 0 if the first is to be run alone."""
        _, _, _, db, spec, _, _ = operations[place]
        self.keyspace.begin(self.time, 0)
        self.context.db = self.keyspace.databases[db]
        answers: list[bytes] = spec.run_many(self.context, _alike(operations, place))
        done = len(answers)
        self._place += done
        for (_, client, number, _, _, _, _), reply in zip(operations[place : place + done], answers, strict=True):
            if client is not NOBODY:
                client.answer(number, reply)
        return done

    def run_within(self, operation: Operation) -> None:
        """Run one operation of the log, unless it's about keys that don't lie in the region: then nothing is done."""
        if owns(self.keyspace.slots, operation):
            self._run(operation)
        else:
            self.elsewhere(operation)

    def _run(self, operation: Operation) -> None:
        """Run one operation of the log and answer its client."""
        kind, client, number, db, spec, arguments, extra = operation
        if kind == COMMANDS:
            reply = self._write(client, db, spec, arguments, False)
            client.answer(number, reply)
            if self.waiters.by_origin:
                self._serve()
        elif kind == WAITING:
            self._run_waiting(operation)
        elif kind == EXEC:
            client.answer(number, self._exec(client, arguments, extra))
            if self.waiters.by_origin:
                self._serve()
        else:
            self._internal(client, number, arguments)

    def _write(self, client: Client, db: int, spec: CommandSpec, arguments: list[bytes], may_wait: bool) -> bytes:
        """
        Run one command on data, and commit it or undo it.

        @raise MustWait: It's a blocking command with nothing to take, and it may wait.
        """
        context = self.context
        keyspace = self.keyspace
        keyspace.begin(self.time)
        context.now = self.time
        context.proto = client.proto
        context.may_wait = may_wait
        context.index = db
        context.db = keyspace.databases[db]
        context.seed(self._seed, self._place)
        self._place += 1
        try:
            reply = spec.run(context, arguments)
            if self.waiters.by_origin:
                self._note_ready()
            keyspace.commit()
        except CommandError as problem:
            keyspace.rollback()
            self.refused(client, spec.name, problem.wire)
            return replies.error(problem.wire)
        except MustWait:
            keyspace.rollback()
            raise
        except (Fault, MemoryError, OSError):
            raise
        except Exception as problem:  # noqa: BLE001 - R14: undone and answered alike on all replicas
            keyspace.rollback()
            self._defect(spec.name, problem)
            return _INTERNAL_ERROR
        return reply

    def _exec(
        self,
        client: Client,
        commands: list[tuple[int, CommandSpec | None, list[bytes], Callable[[], bytes] | None]],
        watched: list[tuple[int, bytes, int]],
    ) -> bytes:
        """Run a transaction: nothing of it if a watched key has changed; each command on its own otherwise."""
        keyspace = self.keyspace
        keyspace.begin(self.time)
        for db, key, version in watched:
            if keyspace.databases[db].version(key) != version:
                keyspace.commit()
                return replies.nil_array(client.proto)
        keyspace.commit()
        answers: list[bytes] = []
        for db, spec, arguments, local in commands:
            if spec is None:
                assert local is not None
                answers.append(local())
            else:
                answers.append(self._write(client, db, spec, arguments, False))
        return replies.array(answers)

    # Waiting

    def _run_waiting(self, operation: Operation) -> None:
        """Run a blocking command; if it has to wait, enter it among the waiters."""
        _, client, number, db, spec, arguments, origin = operation
        distant = None if origin is None else self._distant_client(origin)
        try:
            reply = self._write(distant or client, db, spec, arguments, True)
        except MustWait as wait:
            if origin is None:
                origin = (self.start_id, client.client_id, number)
            elif origin[0] == self.start_id and client is NOBODY:
                # It's connected here, but another store leads: it's answered when what serves it is applied here.
                client = self.waiting_client(origin[1], origin[2])
            order = self.keyspace.sequence
            self.waiters.add(Waiter(order, origin, db, wait.keys, arguments, distant or client, wait.timed_out))
            client.waits(number, wait.timeout_ms)
            return
        client.answer(number, reply)
        if self.waiters.by_origin:
            self._serve()

    def tell_distant(self, client: Callable[[Origin], Client | None]) -> None:
        """
        Say who waits elsewhere and is told by each replica what becomes of that: the clients of gateways.

        @param client: Gives such a client by its origin; None for one that is none.
        """
        self._distant_client = client
        self._find_clients()

    def _find_clients(self) -> None:
        """Find the clients of waiters whose rows were found here."""
        for waiter in self.waiters:
            if waiter.origin[0] == self.start_id:
                waiter.client = self.waiting_client(waiter.origin[1], waiter.origin[2])
            else:
                waiter.client = self._distant_client(waiter.origin) or waiter.client

    def _note_ready(self) -> None:
        """Before a command's commit forgets them: remember the keys that it changed and for which someone waits."""
        keyspace = self.keyspace
        for value in keyspace.touched:
            if len(value):
                index = keyspace.databases.index(value.db)
                if self.waiters.of(index, value.key):
                    self._ready.setdefault((index, value.key))
        for index in keyspace.swapped:
            for key in self.waiters.waited(index):
                self._ready.setdefault((index, key))

    def _serve(self) -> None:
        """
        Serve waiters from the keys that became ready, oldest first.

        What a waiter does (BLMOVE pushes) may make other keys ready; those follow.
        """
        while self._ready:
            ready, self._ready = self._ready, {}
            for index, key in ready:
                self._serve_key(index, key)

    def _serve_key(self, index: int, key: bytes) -> None:
        """Serve those who wait for one key, as long as there's something for them."""
        keyspace = self.keyspace
        for waiter in self.waiters.of(index, key):
            value = keyspace.databases[index].get(key)
            if keyspace.undo:
                # It had expired, and looking at it deleted it; that's no part of what follows.
                keyspace.commit()
            if not isinstance(value, Value):
                return
            spec = self.table[waiter.arguments[0].decode("latin-1").lower()]
            if value.NAME != spec.waits_for:
                continue
            self.context.ready_key = key
            try:
                reply = self._write(waiter.client, index, spec, waiter.arguments, True)
            except MustWait:
                continue
            finally:
                self.context.ready_key = None
            self.waiters.remove(waiter)
            waiter.client.answer(waiter.origin[2], reply)

    # What a leader decides

    def _internal(self, client: Client, number: int, arguments: list[bytes]) -> None:
        """Do what was decided, and tell whoever asked for it."""
        name = arguments[0]
        keyspace = self.keyspace
        keyspace.begin(self.time)
        if name == b"expire":
            db = keyspace.physical[int(arguments[1])]
            first, end = keyspace.slots
            for key in arguments[2:]:
                # Looking at an expired key while writing deletes it; one that has a later expiry by now stays.
                if first <= slot_of(key) < end:
                    db.get(key)
        elif name == b"wake":
            origin = (int(arguments[1]), int(arguments[2]), int(arguments[3]))
            waiter = self.waiters.find(origin)
            if waiter is not None:
                self.waiters.remove(waiter)
                if arguments[4] != b"gone":
                    # Of one that came with a snapshot the reply isn't known; no value is what it comes down to.
                    nothing = waiter.timed_out or replies.nil_array(waiter.client.proto)
                    waiter.client.answer(origin[2], _UNBLOCKED if arguments[4] == b"error" else nothing)
            elif origin in self._ceded:
                # It was on its way while the region was split, and means one who waits in a part by now.
                self._ceded.discard(origin)
                self.elsewhere((INTERNAL, NOBODY, 0, 0, None, arguments, None))
        elif name == b"split":
            self.splitting(arguments)
        elif name.endswith(b"-merge"):
            self.merging(arguments)
        elif name == b"checksum":
            self.summing(arguments[1])
        else:
            assert name == b"gone", name
            # A store started anew, or is lost: whoever waited there has gone. Should it be this one, it isn't so.
            start_id = int(arguments[1])
            for waiter in list(self.waiters):
                if waiter.origin[0] == start_id:
                    self.waiters.remove(waiter)
                    if start_id == self.start_id:
                        waiter.client.answer(waiter.origin[2], _CUT_OFF)
        keyspace.commit()
        client.answer(number, replies.OK)

    # Splits

    def cede(self, region: int, slots: tuple[int, int]) -> Execution:
        """
        Let a new region have the last of this one's slots, with all that lies in them and who waits for that.

        A client that waits for keys on both sides is told so, as if it asked now.

        @return: The commands at work there.
        """
        part = Execution(
            self.keyspace.cede(region, slots),
            self.table,
            start_id=self.start_id,
            random=self._random,
            defect=self._defect,
        )
        part.time = self.time
        part.refused = self.refused
        part.waiting_client = self.waiting_client
        for waiter in self.waiters:
            spec = self.table[waiter.arguments[0].decode("latin-1").lower()]
            if lie_in(self.keyspace.slots, spec, waiter.arguments):
                continue
            self.waiters.remove(waiter)
            if lie_in(slots, spec, waiter.arguments):
                part.waiters.take(waiter)
                if waiter.origin[0] == self.start_id:
                    self._ceded.add(waiter.origin)
            else:
                waiter.client.answer(waiter.origin[2], CROSS_SLOT)
        self._look_at_range()
        return part

    def take_in(self, other: Execution) -> None:
        """
        Take over all of a neighbouring region: its slots, what lies in them, and who waits for that.

        Who waits there comes behind all who wait here; nobody waits for keys of both.
        """
        self.keyspace.take_in(other.keyspace)
        for waiter in other.waiters:
            other.waiters.remove(waiter)
            self.keyspace.sequence += 1
            waiter.order = self.keyspace.sequence
            self.waiters.take(waiter)
        self._ceded |= other._ceded
        self.time = max(self.time, other.time)
        self.keyspace.region_time = self.time
        self._look_at_range()

    # Reads

    def read(
        self, client: Client, db: int, spec: CommandSpec | None, arguments: Any, now: int, filters: bool = False
    ) -> bytes | list[tuple[Database, bytes]]:
        """
        Run a read, by the clock.

        @param spec: The command; None for a transaction that only reads, whose commands C{arguments} then are.
        @param filters: Whether a key that has expired by the clock alone is just absent, and nothing has to be applied.
        @return: The reply; or, where it met keys that have expired by the clock alone, those keys: their expiry has
            to be applied, then the read is run again (R15).
        @raise OutOfTime: It takes too long for a look; it has to be run where it may rest.
        """
        self.reads += 1
        if self.sampling:
            self.sampled = (spec, arguments)
        keyspace = self.keyspace
        keyspace.writing = False
        if now < self.time:
            now = self.time
        keyspace.now = now
        context = self.context
        context.now = now
        context.proto = client.proto
        context.may_wait = False
        context.lend(self._random)
        try:
            if spec is not None:
                context.index = db
                context.db = keyspace.databases[db]
                reply = spec.run(context, arguments)
            else:
                reply = self._read_exec(client, arguments)
        except CommandError as problem:
            self.refused(client, spec.name if spec else "exec", problem.wire)
            reply = replies.error(problem.wire)
        except OutOfTime:
            keyspace.noticed = []
            raise
        except (Fault, MemoryError, OSError):
            raise
        except Exception as problem:  # noqa: BLE001 - one broken command mustn't end the others
            self._defect(spec.name if spec else "exec", problem)
            reply = _INTERNAL_ERROR
        if keyspace.noticed:
            noticed = keyspace.noticed
            keyspace.noticed = []
            if not filters:
                return noticed
        self.read_bytes += len(reply)
        return reply

    def _read_exec(
        self, client: Client, commands: list[tuple[int, CommandSpec | None, list[bytes], Callable[[], bytes] | None]]
    ) -> bytes:
        answers: list[bytes] = []
        for db, spec, arguments, local in commands:
            if spec is None:
                assert local is not None
                answers.append(local())
                continue
            self.context.select(db)
            # A HELLO before it may have changed the protocol.
            self.context.proto = client.proto
            try:
                answers.append(spec.run(self.context, arguments))
            except CommandError as problem:
                self.refused(client, spec.name, problem.wire)
                answers.append(replies.error(problem.wire))
        return replies.array(answers)

    # Start

    def forget(self) -> None:
        """Forget everything: the rows have been replaced, and L{load} is to follow."""
        self.keyspace.forget()
        self.waiters = Waiters(self.keyspace.rows, self.keyspace.region)
        self._ready.clear()

    def load(self, time: int) -> None:
        """Take over the rows, and the region's time as of them."""
        self._look_at_range()
        self.keyspace.load()
        self.waiters.load()
        self._find_clients()
        self.time = time
        self.keyspace.region_time = time
