"""
What all daemons have alike: their command line, how they start, listen, fail and end, and their clocks.

What fails before anybody can be served (a configuration that's wrong, a folder in use, a port that's taken) is one line
on standard error and exit status 1; what fails later is logged as critical, and the daemon stops with status 70, for
the unit to restart it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from tinykv.config import StoreConfig
from tinykv.config_options import ConfigError, OptionTable
from tinykv.errors import Fault
from tinykv.gateway.config import GatewayConfig
from tinykv.peering.tls import PeerTls
from tinykv.schedule.config import ScheduleConfig
from tinykv.storage.errors import StorageError
from tinykv.tap.endpoints import environment_at_start, passed_sockets
from tinykv.tap.logging import LoggedService, observer_for
from tinykv.tap.peers import reload_tls
from tinykv.tap.runtime import tune_collector
from tinykv.tap.tls import TlsPort

D = TypeVar("D", StoreConfig, GatewayConfig, ScheduleConfig)

#: A port to listen on: its name, where, and what serves it.
Wanted = tuple[str, IStreamServerEndpoint, Any]

#: How long one that leads and ends waits for another to lead, in seconds, and how often it looks meanwhile.
_HAND_OVER_SECONDS: Final = 1.0
_HAND_OVER_LOOKS: Final = 50

#: Exit status after a failure while serving (EX_SOFTWARE of sysexits).
EXIT_FAILED: Final = 70

#: Where there's no clock that counts while the system sleeps (macOS has it under another name), the monotonic one.
_UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Options(usage.Options):
    """The command line of a daemon."""

    optParameters = [
        ["config", "c", None, "The INI file; the one in etc/ shows every option with its default."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.overrides: dict[str, str] = {}

    def opt_set(self, assignment: str) -> None:
        """Set one option of the file from here: --set name=value; may be given several times."""
        name, equals, value = assignment.partition("=")
        if not equals:
            raise usage.UsageError(f"--set {assignment}: name=value is needed")
        self.overrides[name] = value


def refuse(why: str) -> NoReturn:
    """
    End before anything is served: one line and exit status 1.

    A usage error, which twistd offers for this, would be a page of help and, at this point, a traceback.
    """
    print(f"tinykv: {why}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def service_of(
    options: Options,
    table: OptionTable[D],
    default: D,
    make: Callable[[D, Any, dict[str, int]], Service],
    check: Callable[[D, dict[str, int]], None] | None = None,
) -> IService:
    """
    Make a daemon's service, or end with what is wrong with the configuration.

    @param default: The configuration where no file is named.
    @param make: Makes the daemon, of its configuration, the reactor, and the sockets that systemd passed by name.
    @param check: Raises L{ConfigError} if such sockets don't go with the configuration.
    """
    if not __debug__:
        refuse("the program's invariants are asserted: don't run it with python -O")
    passed = passed_sockets(environment_at_start())
    try:
        config = table.load(Path(options["config"])) if options["config"] is not None else default
        config = table.override(config, options.overrides)
        if check is not None:
            check(config, passed)
    except ConfigError as problem:
        refuse(str(problem))
    outermost = LoggedService(observer_for(config))
    from twisted.internet import reactor

    make(config, reactor, passed).setServiceParent(outermost)
    service: IService = outermost
    return service


def now_ms() -> int:
    """Tell the time of day, in ms since 1970."""
    return int(time.time() * 1000)


def uptime() -> float:
    """Tell the seconds since the system's start, sleep included: what leases are counted by (R18)."""
    return time.clock_gettime(_UPTIME)


class DaemonService(Service, ABC):
    """
    A daemon, from its folder to its ports.

    @cvar program: What it's called in its log.
    @cvar port_options: The options of ports that aren't called as their ports are.
    """

    program = ""
    port_options: Mapping[str, str] = {}
    log = Logger()

    def __init__(self, reactor: Any, passed: dict[str, int] | None) -> None:
        """
        @param passed: The sockets that systemd passed, by name.
        """
        self._reactor = reactor
        self._passed = passed if passed is not None else {}
        self._ports: list[IListeningPort] = []
        self._failed: str | None = None
        self._tls: TlsPort | None = None
        self._peer_tls: PeerTls | None = None
        #: What has to come before anything can be opened, while that is waited for.
        self._preparing: Deferred[None] | None = None
        self._opened = False

    # What each does in its own way

    def _prepare(self) -> Deferred[None] | None:
        """
        Learn what has to be known before the parts can be put together; None if it's known.

        @raise StorageError: The folder can't be used; likewise Fault, ConfigError.
        """
        return None

    async def _abandon(self) -> None:
        """End what L{_prepare} has begun, where nothing was put together."""

    @abstractmethod
    def _open(self) -> None:
        """
        Open the folder, replay the log, and put all parts together.

        @raise StorageError: The folder can't be used; likewise Fault, ConfigError.
        """

    @abstractmethod
    def _wanted(self) -> list[Wanted]:
        """
        Name the ports to listen on, now that all parts are there.

        @raise ConfigError: A certificate can't be read.
        """

    @abstractmethod
    def _listening(self, ports: list[tuple[str, IListeningPort]]) -> None:
        """Learn that all ports are open."""

    @abstractmethod
    async def _close(self) -> None:
        """End all parts, and close the folder; the ports are closed already."""

    # Start

    def startService(self) -> None:
        """Open the folder, replay the log, and listen."""
        super().startService()
        tune_collector()
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        try:
            self._preparing = self._prepare()
            if self._preparing is None:
                self._start_parts()
        except (StorageError, Fault, ConfigError) as problem:
            refuse(str(problem))
        if self._preparing is not None:
            self._preparing.addCallback(self._prepared).addErrback(self._not_prepared)

    def _prepared(self, _: None) -> None:
        self._preparing = None
        self._start_parts()

    def _not_prepared(self, failure: Failure) -> None:
        self._preparing = None
        if failure.check(StorageError, Fault, ConfigError):
            self._stop_with(str(failure.value), 1)
        elif not failure.check(CancelledError):
            self.log.failure("the start fails", failure)
            self._stop_with(f"can't start: {failure.value}", EXIT_FAILED)

    def _start_parts(self) -> None:
        self._open()
        wanted = self._wanted()
        self._opened = True
        listening = gatherResults([self._listen(*port) for port in wanted], consumeErrors=True)
        listening.addCallbacks(self._told, self._not_listening, errbackArgs=([name for name, *_ in wanted],))

    def _listen(self, name: str, endpoint: IStreamServerEndpoint, factory: Any) -> Deferred[tuple[str, IListeningPort]]:
        def opened(port: IListeningPort) -> tuple[str, IListeningPort]:
            self._ports.append(port)
            return name, port

        return endpoint.listen(factory).addCallback(opened)

    def _told(self, ports: list[tuple[str, IListeningPort]]) -> None:
        for name, port in ports:
            address: Any = port.getHost()
            self.log.info("{port} port: {host}:{number}", port=name, host=address.host, number=address.port)
        self._listening(ports)

    def _not_listening(self, failure: Failure, names: list[str]) -> None:
        first = failure.value
        assert isinstance(first, FirstError)
        problem = str(first.subFailure.value).rstrip(".")
        name = names[first.index]
        option = self.port_options.get(name, f"{name}_port")
        why = f"can't listen: {problem}. Is another server running on that port? Choose another (option {option})."
        self._stop_with(why, 1)

    # Running

    def reload(self) -> None:
        """Read the TLS certificates again."""
        if self._tls is not None:
            self._tls.reload()
        if self._peer_tls is not None:
            reload_tls(self._peer_tls)

    def _stop_failed(self, problem: BaseException) -> None:
        """Stop, since nothing can be relied on any more."""
        if self._failed is None:
            self.log.critical("{program} stops: {problem}", program=self.program, problem=str(problem))
        else:
            # What fails after the first failure follows from it, as the end of the writers does.
            self.log.info("while stopping: {problem}", problem=str(problem))
        self._stop_with(None, EXIT_FAILED)

    def _stop_with(self, why: str | None, status: int) -> None:
        """End the daemon with this exit status, after everything else has been shut down."""
        if self._failed is not None:
            return
        self._failed = why or ""
        if why is not None:
            print(f"tinykv: {why}", file=sys.stderr, flush=True)
        # twistd has no way to hand an exit status on, and the unit has to see that this was no ordinary end.
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, status)
        if self.running:
            self._reactor.callWhenRunning(self._reactor.stop)

    # End

    def stopService(self) -> Deferred[None]:
        """Stop listening, finish what was taken, write it, and close the folder."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        if self._preparing is not None:
            self._preparing.cancel()
        if self._opened:
            await self._close()
        else:
            await self._abandon()
        self.log.info("{program} has stopped", program=self.program)

    async def _wait_for_another_leader(self, transferring: Callable[[], object]) -> None:
        """Wait until leadership has been handed over, or for long enough."""
        for _ in range(_HAND_OVER_LOOKS):
            if not transferring():
                return
            await deferLater(self._reactor, _HAND_OVER_SECONDS / _HAND_OVER_LOOKS)
