"""
What all client connections of a store share: the routes, the limits, the list of clients, the way to the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from time import perf_counter
from types import ModuleType
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from tinykv.errors import CommandError
from tinykv.interfaces import ClientConfig, IRegionHost, ISlots
from tinykv.redis import catalogue
from tinykv.redis.catalogue import keys_of
from tinykv.redis.command_replies import CommandReplies, select
from tinykv.redis.glob import match
from tinykv.redis.numbers import parse_int64
from tinykv.redis.operations import INTERNAL, NOBODY, Client, Operation
from tinykv.redis.settings import DEFAULTS
from tinykv.redis.spec import CommandSpec
from tinykv.resp import replies
from tinykv.resp.limits import UNAUTHENTICATED, RequestLimits
from tinykv.server.cluster_session import ClusterSession
from tinykv.server.errorstats import ErrorCounts
from tinykv.server.intake import Intake
from tinykv.server.outbound import Outbound
from tinykv.server.parameters import Parameters
from tinykv.server.routes import CONNECTION, READS_MANY, TIMED_OF, Route, Routes, wrong_arity
from tinykv.server.session import Session

_TOO_MANY = replies.error(b"ERR max number of clients reached")
_REPLACED = replies.error(b"TIMEOUT the store was behind and took over a snapshot; outcome unknown")
_INTERNAL_ERROR = replies.error(b"ERR internal error: the log of the store has the details")

#: How often the front looks at the clock: for idle clients, and for rates.
TICK_SECONDS = 1.0


class _Waiting:
    """A client that waits for what an entry of another store's making gives it, as long as it does."""

    __slots__ = ("_session", "client_id", "proto")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.client_id = session.client_id
        self.proto = session.proto

    def answer(self, number: int, reply: bytes) -> None:
        """Answer the client, unless it was told something else meanwhile."""
        if self._session.waiting == number:
            self._session.answer(number, reply)

    def waits(self, number: int, timeout_ms: int) -> None:
        """It waits already."""


class Front:
    """
    The shared part of a store's RESP ports.

    @ivar host: Runs commands on data.
    @ivar routes: Finds a command's code; C{descriptions} are what COMMAND says of them.
    @ivar sessions: The connected clients by id.
    @ivar answered: The clients that have replies to be sent this turn.
    @ivar parameters: What CONFIG GET and SET know of this store; the settings of commands on data aside.
    @ivar now: The time in seconds since 1970; C{turn_time} is the same, a second old at most.
    @ivar timer: Seconds from whenever, to measure what commands take.
    @ivar memory_peak: The most that L{memory} was, as looked at once a second.
    @ivar lookups: How many keys were named by reads of several.
    @ivar run_id: Names this run of the store: 40 hexadecimal digits.
    @ivar shutdown: Ends the daemon in good order.
    @ivar ports: The port numbers that are listened on, by name.
    @ivar errors: The error replies, counted.
    @ivar operations_per_second: Commands run in the last second; C{bytes_in_per_second} and C{bytes_out_per_second}
        likewise.
    """

    log = Logger()

    def __init__(
        self,
        host: IRegionHost,
        table: Mapping[str, CommandSpec],
        modules: Iterable[ModuleType],
        *,
        config: ClientConfig,
        clock: IReactorTime,
        now: Callable[[], float],
        shutdown: Callable[[], None],
        timer: Callable[[], float] = perf_counter,
    ) -> None:
        self.host = host
        self.routes = Routes(table, modules, timer)
        self.route_of = self.routes.get
        self.find_route = self.routes.find
        self.descriptions = CommandReplies(select(catalogue.everything(), self.routes.by_name), match)
        self.clock = clock
        self.now = now
        self.timer = timer
        self.started = self.turn_time = now()
        self.config = config
        self.password = config.requirepass.encode()
        # What proto-max-bulk-len was set to is part of the data, and outlives a restart.
        default = DEFAULTS["proto-max-bulk-len"]
        string_max = host.execution.keyspace.settings.values.get("proto-max-bulk-len", default)
        bulk_bytes = config.bulk_limit if string_max == default else string_max
        self.limits = RequestLimits(
            inline_bytes=config.inline_limit,
            arguments=config.argument_limit,
            bulk_bytes=bulk_bytes,
            query_buffer_bytes=config.query_buffer_limit,
            unauthenticated_arguments=config.unauthenticated_argument_limit,
            unauthenticated_bulk_bytes=config.unauthenticated_bulk_limit,
        )
        self.limits_before_auth = self._before_auth()
        self.maxclients = config.maxclients
        self.timeout = config.timeout
        self.tcp_keepalive = config.tcp_keepalive
        self.pipeline_depth = config.pipeline_depth
        self.output_buffer_limit = config.output_buffer_limit
        self.databases = config.databases
        self.parameters = Parameters(self)
        self.run_id = f"{host.start_id:040x}"
        self.shutdown = shutdown
        self.ports: dict[str, int] = {}
        self.sessions: dict[int, Session] = {}
        self.answered: list[Outbound] = []
        self.errors = ErrorCounts()
        host.execution.refused = self.refused
        host.execution.waiting_client = self._waiting_client
        host.replaced = self.look_at_waiters
        self.accepted = 0
        self.rejected = 0
        self.failed_auths = 0
        self.protocol_errors = 0
        self.query_limit_closes = 0
        self.output_limit_closes = 0
        self.defects = 0
        self.lookups = 0
        self.memory_peak = 0
        self.operations_per_second = 0.0
        self.bytes_in_per_second = 0.0
        self.bytes_out_per_second = 0.0
        self._bytes_in = 0
        self._bytes_out = 0
        self._next_client = 1
        self._tls: set[int] = set()
        self._timers: dict[int, IDelayedCall] = {}
        self._flush_due = False
        #: Who leads which slots; None where no port is a cluster's node.
        self.slots: ISlots | None = None
        #: Runs commands on data for the clients of such a port.
        self.node_host = host
        #: Reads the plain TCP clients; None where their transports do.
        self.intake: Intake | None = None
        self._sampled = (self.turn_time, 0, 0, 0)
        self._ticking: IDelayedCall | None = None

    def reroute(self, host: IRegionHost, node_host: IRegionHost) -> None:
        """
        Take commands to somebody else from now on, who knows where each belongs by now; and answer as before.

        @param node_host: The same for clients of a port that is a cluster's node.
        """
        before = self.host
        host.execution.refused = before.execution.refused
        host.execution.waiting_client = before.execution.waiting_client
        host.replaced = before.replaced
        self.host, self.node_host = host, node_host
        for session in self.sessions.values():
            session.host = node_host if session.cluster else host

    # Start and end

    def start(self) -> None:
        """Begin to watch the clock."""
        self._tick()

    def _tick(self) -> None:
        self._ticking = self.clock.callLater(TICK_SECONDS, self._tick)
        self.turn_time = self.now()
        before, commands, read, written = self._sampled
        seconds = self.turn_time - before
        self._sampled = (self.turn_time, self.commands, self.bytes_in, self.bytes_out)
        if seconds > 0:
            self.operations_per_second = max(0.0, (self._sampled[1] - commands) / seconds)
            self.bytes_in_per_second = max(0.0, (self._sampled[2] - read) / seconds)
            self.bytes_out_per_second = max(0.0, (self._sampled[3] - written) / seconds)
        self.memory_peak = max(self.memory_peak, self.memory)
        if self.timeout:
            self._close_idle()

    def _close_idle(self) -> None:
        """Close the clients that have sent nothing for too long; one that waits in a blocking command stays."""
        oldest = self.turn_time - self.timeout
        for session in list(self.sessions.values()):
            if session.last_used < oldest and session.waiting is None:
                session.cut()

    def quiesce(self) -> None:
        """Take no more commands: each client is answered what is under way, and closed."""
        for session in list(self.sessions.values()):
            session.close_after_replies()

    def close(self) -> None:
        """Close all connections, with what has been answered."""
        if self._ticking is not None and self._ticking.active():
            self._ticking.cancel()
        for timer in list(self._timers.values()):
            if timer.active():
                timer.cancel()
        self._timers.clear()
        self.flush()
        for session in list(self.sessions.values()):
            session.end()
        if self.intake is not None:
            self.intake.close()

    @property
    def open(self) -> bool:
        """Whether clients may do without a password."""
        return not self.password

    # Connections

    def session(self, *, tls: bool, cluster: bool = False) -> Session:
        """Make the session of a new connection; C{cluster}: of one to the port of a cluster's node."""
        session = (ClusterSession if cluster else Session)(self, self._next_client)
        self._next_client += 1
        if tls:
            self._tls.add(session.client_id)
        return session

    def is_tls(self, session: Session) -> bool:
        """Say whether a client came over the TLS port."""
        return session.client_id in self._tls

    def connected(self, session: Session) -> None:
        """Take in a client, or turn it away if there are too many."""
        self.accepted += 1
        if len(self.sessions) >= self.maxclients:
            self.rejected += 1
            session.push(self.errors.counted(_TOO_MANY))
            session.close_after_replies()
            return
        self.sessions[session.client_id] = session

    def disconnected(self, session: Session) -> None:
        """Forget a client."""
        self.sessions.pop(session.client_id, None)
        self._bytes_in += session.bytes_in
        self._bytes_out += session.bytes_out
        self._tls.discard(session.client_id)
        self.waits_no_more(session)

    def flush(self) -> None:
        """Send what was answered in this turn."""
        while self.answered:
            sessions = self.answered
            self.answered = []
            for session in sessions:
                try:
                    session.flush()
                except Exception:  # noqa: BLE001 - one broken client mustn't end the others
                    session.broken()

    def flush_soon(self) -> None:
        """Send in the next turn what was answered outside of the usual ways."""
        if not self._flush_due:
            self._flush_due = True
            self.clock.callLater(0, self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush()

    # Limits

    def _before_auth(self) -> RequestLimits:
        query_buffer_bytes = min(self.limits.query_buffer_bytes, UNAUTHENTICATED.query_buffer_bytes)
        return replace(self.limits, authenticated=False, query_buffer_bytes=query_buffer_bytes)

    def set_limits(self, limits: RequestLimits) -> None:
        """Change what clients may send from now on."""
        self.limits = limits
        self.limits_before_auth = self._before_auth()
        for session in self.sessions.values():
            session.set_limits(limits if session.authenticated else self.limits_before_auth)

    def set_bulk_limit(self, size: int) -> None:
        """Change the longest argument that clients may send."""
        self.set_limits(replace(self.limits, bulk_bytes=size))

    # Blocking commands

    def waits(self, session: Session, timeout_ms: int) -> None:
        """Learn that a client waits; after C{timeout_ms} (0: never) its time is over."""
        # If it has left since, the region learns that right behind its command.
        if timeout_ms and session.client_id in self.sessions:
            self._timers[session.client_id] = self.clock.callLater(timeout_ms / 1000, self.wake, session, b"timeout")

    def _waiting_client(self, client_id: int, number: int) -> Client:
        """Give the client that waits with a request, or nobody."""
        session = self.sessions.get(client_id)
        return NOBODY if session is None or session.waiting != number else _Waiting(session)

    def look_at_waiters(self, about: Callable[[Operation], bool]) -> None:
        """
        After data was replaced: tell clients that don't wait in it any more that nobody knows what they got.

        @param about: Says whether an operation was about that data.
        """
        waiters = self.host.execution.waiters
        # Nothing of these has been done, so the data can't know of them.
        undone = {(operation[1], operation[2]) for operation in self.host.undone()}
        for session in list(self.sessions.values()):
            number = session.waiting
            if number is None or (session, number) in undone or session.blocking is None:
                continue
            if not about(session.blocking):
                continue
            if waiters.find((self.host.start_id, session.client_id, number)) is None:
                # Should it become a waiter after all, nothing is to be popped for it.
                self.wake(session, b"gone")
                session.answer(number, _REPLACED)

    def waits_no_more(self, session: Outbound) -> None:
        """Learn that a client was answered or has left."""
        timer = self._timers.pop(session.client_id, None)
        if timer is not None and timer.active():
            timer.cancel()

    def wake(self, session: Outbound, how: bytes) -> None:
        """Ask for a waiting client to be woken: C{timeout}, C{error} (CLIENT UNBLOCK ... ERROR) or C{gone}."""
        if session.waiting is not None:
            origin = (self.host.start_id, session.client_id, session.waiting)
            arguments = [b"wake", *(b"%d" % part for part in origin), how]
            self.host.submit((INTERNAL, NOBODY, 0, 0, None, arguments, None))

    # Commands

    @staticmethod
    def wrong_arity(route: Route) -> bytes:
        """Word the refusal of a wrong number of arguments."""
        return wrong_arity(route.name)

    def serve(self, session: Session, number: int, route: Route, request: list[bytes]) -> bytes | None:
        """
        Run a command on the connection or the server.

        @param number: The request's; -1 within a transaction.
        @return: Its reply, or None if the session is answered later.
        """
        assert route.serve is not None
        begun = self.timer() if route.calls % TIMED_OF == 1 else 0.0
        try:
            reply = route.serve(session, number, request)
        except CommandError as problem:
            reply = replies.error(problem.wire)
        except Exception:  # noqa: BLE001 - one broken command mustn't end the client's others
            self.defects += 1
            self.log.failure("{command} failed", command=route.name)
            reply = _INTERNAL_ERROR
        if begun:
            route.took(self.timer() - begun)
        if reply is not None and reply.startswith(b"-"):
            route.failed += 1
            self.errors.count(reply[1:])
        return reply

    def refused(self, client: Client, name: str, text: bytes) -> None:
        """Learn that a command on data was answered with an error; each is counted where its client is."""
        if not isinstance(client, (Session, _Waiting)):
            return
        route = self.routes.by_name.get(name)
        if route is not None:
            route.failed += 1
        self.errors.count(text)

    def look_up(self, route: Route, request: list[bytes]) -> None:
        """Count the keys of a read of several."""
        assert route.facts is not None
        self.lookups += len(keys_of(route.facts, request))

    def enqueue(self, session: Session, route: Route, request: list[bytes]) -> None:
        """Keep a command for EXEC."""
        assert session.queue is not None
        if route.kind == READS_MANY:
            self.look_up(route, request)
        if route.kind != CONNECTION:
            spec = route.timed if route.calls % TIMED_OF == 1 else route.spec
            session.queue.append((session.queue_db, spec, request, None))
            return
        logged = None if route.logged is None else route.logged(self, request)
        if logged is not None:
            session.queue.append((session.queue_db, *logged, None))
            return

        def local() -> bytes:
            reply = self.serve(session, -1, route, request)
            assert reply is not None, "a command that answers later can't be queued"
            return reply

        session.queue.append((session.queue_db, None, request, local))
        if route.name == "select":
            index = parse_int64(request[1])
            if index is not None and 0 <= index < session.databases:
                session.queue_db = index

    # Figures

    @property
    def commands(self) -> int:
        """Count the commands that were run."""
        return sum(route.calls for route in self.routes)

    @property
    def memory(self) -> int:
        """Give the bytes that the data takes in memory: what is cached, and what isn't in data.db yet."""
        return self.host.execution.keyspace.memory + self.host.table_bytes

    @property
    def hits(self) -> int:
        """Count the keys that reads looked for and found."""
        lookups = self.lookups + sum(route.lookups for route in self.routes)
        return max(lookups - self.host.execution.keyspace.misses, 0)

    @property
    def timed_waits(self) -> int:
        """Count the clients that wait in a blocking command with a timeout."""
        return len(self._timers)

    @property
    def bytes_in(self) -> int:
        """Count the bytes that clients sent."""
        return self._bytes_in + sum(session.bytes_in for session in self.sessions.values())

    @property
    def bytes_out(self) -> int:
        """Count the bytes of replies."""
        return self._bytes_out + sum(session.bytes_out for session in self.sessions.values())

    def reset_figures(self) -> None:
        """Start the counts again at 0, as CONFIG RESETSTAT asks for."""
        self.errors.clear()
        self.accepted = self.rejected = self._bytes_in = self._bytes_out = 0
        for session in self.sessions.values():
            session.bytes_in = session.bytes_out = 0
        for route in self.routes:
            route.reset()
        self.lookups = 0
        self.host.execution.keyspace.misses = 0
        self._sampled = (self.turn_time, 0, 0, 0)
        self.host.execution.keyspace.expired_keys = 0

    def calls(self) -> dict[str, int]:
        """Count the calls of each command, by name."""
        return {route.name: route.calls for route in self.routes if route.calls}


class RespFactory(Factory):
    """Makes a session of each connection to a RESP port."""

    noisy = False

    def __init__(self, front: Front, *, tls: bool = False, cluster: bool = False) -> None:
        self._front = front
        self._tls = tls
        self._cluster = cluster

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make a session."""
        session = self._front.session(tls=self._tls, cluster=self._cluster)
        session.factory = self
        return session
