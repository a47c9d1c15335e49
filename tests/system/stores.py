"""
Several store daemons that are one cluster, for a test or a proof: on ports of 127.0.0.1, or each in a network
namespace of its own, where the network between them can be cut and slowed down.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.redis_server import BlockingClient, free_port
from tests.system.processes import TWISTD, Process, children_of, runs, wait_until

_SECRET = "no one knows it but these stores"
_LEADS = re.compile(r"this store leads in term (\d+)")


class Loopback:
    """A network of ports on 127.0.0.1, which nothing can be done to."""

    cuttable = False

    def __init__(self, count: int) -> None:
        self.addresses = ["127.0.0.1"] * count

    def command(self, place: int, words: Sequence[str]) -> list[str]:
        """Give the command that runs another one at a place."""
        return list(words)

    def close(self) -> None:
        """Nothing is left."""


class Namespaces:
    """
    A bridge, and each store in a network namespace that is plugged into it; needs root.

    @ivar addresses: One for each store.
    """

    cuttable = True

    def __init__(self, count: int) -> None:
        self._name = f"tk{os.getpid() % 10000}"
        self._net = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.addresses = [f"{self._net}.{10 + place}" for place in range(count)]
        _ip("link", "add", self._name, "type", "bridge")
        try:
            _ip("addr", "add", f"{self._net}.1/24", "dev", self._name)
            _ip("link", "set", self._name, "up")
            for place in range(count):
                self._plug(place)
        except BaseException:
            self.close()
            raise

    def _plug(self, place: int) -> None:
        space, port = self._space(place), self._port(place)
        _ip("netns", "add", space)
        _ip("link", "add", port, "type", "veth", "peer", "name", "net", "netns", space)
        _ip("link", "set", port, "master", self._name, "up")
        self._inside(place, "ip", "link", "set", "lo", "up")
        self._inside(place, "ip", "addr", "add", f"{self.addresses[place]}/24", "dev", "net")
        self._inside(place, "ip", "link", "set", "net", "up")

    def _space(self, place: int) -> str:
        return f"{self._name}-{place}"

    def _port(self, place: int) -> str:
        return f"{self._name}p{place}"

    def _inside(self, place: int, *words: str) -> None:
        subprocess.run(self.command(place, words), check=True, capture_output=True)

    def command(self, place: int, words: Sequence[str]) -> list[str]:
        """Give the command that runs another one at a place."""
        return ["ip", "netns", "exec", self._space(place), *words]

    @contextmanager
    def parted(self, places: Sequence[int]) -> Iterator[None]:
        """Let none of these places reach another of them, though clients reach them all."""
        for place in places:
            _ip("link", "set", self._port(place), "type", "bridge_slave", "isolated", "on")
        try:
            yield
        finally:
            for place in places:
                _ip("link", "set", self._port(place), "type", "bridge_slave", "isolated", "off")

    @contextmanager
    def unheard(self, place: int) -> Iterator[None]:
        """Let nothing that a place sends reach the others; it hears them, and clients reach it."""
        others = [address for other, address in enumerate(self.addresses) if other != place]
        for address in others:
            self._inside(place, "ip", "route", "add", "blackhole", f"{address}/32")
        try:
            yield
        finally:
            for address in others:
                self._inside(place, "ip", "route", "del", "blackhole", f"{address}/32")

    @contextmanager
    def unplugged(self, place: int) -> Iterator[None]:
        """Cut a place off from everybody."""
        _ip("link", "set", self._port(place), "down")
        try:
            yield
        finally:
            _ip("link", "set", self._port(place), "up")

    @contextmanager
    def slow(self, place: int) -> Iterator[None]:
        """Let what a place sends wait in a thin line, up to some tenths of a second."""
        line = ["root", "tbf", "rate", "1mbit", "burst", "4kb", "latency", "400ms"]
        self._inside(place, "tc", "qdisc", "add", "dev", "net", *line)
        try:
            yield
        finally:
            self._inside(place, "tc", "qdisc", "del", "dev", "net", "root")

    def close(self) -> None:
        """Take it all away."""
        for place in range(len(self.addresses)):
            subprocess.run(["ip", "netns", "del", self._space(place)], capture_output=True, check=False)
            # The namespace lives on while the system has something left to send in it.
            subprocess.run(["ip", "link", "del", self._port(place)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_work() -> bool:
    """Say if this host lets us have network namespaces."""
    try:
        Namespaces(1).close()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Stores:
    """
    The daemons; a context manager that ends them.

    @ivar network: What is between them.
    @ivar ports: Where clients connect, by place.
    @ivar cluster_ports: Where clients of a Redis Cluster connect, by place.
    @ivar addresses: Where they find each other, by place, each as C{id@host:port}.
    @ivar http_ports: Where the HTTP pages are, by place.
    """

    def __init__(self, folder: Path, network: Loopback | Namespaces, **options: str) -> None:
        """
        Start all of them, and wait until each answers.

        @param folder: Where their data, configuration and output are; an existing folder.
        @param options: More of their configuration.
        """
        self.network = network
        self._folder = folder
        count = len(network.addresses)
        self.ports = [free_port() for _ in range(count)]
        self.cluster_ports = [free_port() for _ in range(count)]
        self.http_ports = [free_port() for _ in range(count)]
        peer_ports = [free_port() for _ in range(count)]
        stores = [
            f"{place + 1}@{address}:{port}"
            for place, (address, port) in enumerate(zip(network.addresses, peer_ports, strict=True))
        ]
        self.addresses = stores
        self._chosen = [
            {
                "data_dir": str(folder / f"data-{place}"),
                "bind": network.addresses[place],
                "port": str(self.ports[place]),
                "cluster_port": str(self.cluster_ports[place]),
                "http_bind": network.addresses[place],
                "http_port": str(self.http_ports[place]),
                "protected_mode": "no",
                "ballast_bytes": "0",
                "disk_low_mark": "0",
                "store_id": str(place + 1),
                "initial_stores": ",".join(stores),
                "cluster_secret": _SECRET,
                "peer_bind": network.addresses[place],
                "peer_port": str(peer_ports[place]),
                **options,
            }
            for place in range(count)
        ]
        self._processes: dict[int, Process] = {}
        self._starts = 0
        #: The greatest term that each store has led, over all its lives.
        self._led = [0] * count
        try:
            for place in range(count):
                self.start(place)
            for place in range(count):
                self.wait_for(place)
        except BaseException:
            self.close()
            raise

    def start(self, place: int) -> None:
        """Start a store, again perhaps; it isn't ready yet."""
        words = [*TWISTD, *(word for name, text in self._chosen[place].items() for word in ("--set", f"{name}={text}"))]
        self._starts += 1
        output = self._folder / f"output-{place}-{self._starts}.txt"
        self._processes[place] = Process(self.network.command(place, words), output)

    def wait_for(self, place: int) -> None:
        """Wait until a store listens."""
        process = self._processes[place]
        process.wait_for(lambda: "is ready" in process.output, "it was ready")

    def connect(self, place: int, timeout: float = 10.0) -> BlockingClient:
        """
        Connect a client to a store.

        @param timeout: How long anything may take, in seconds.
        """
        return BlockingClient.tcp(self.network.addresses[place], self.ports[place], timeout)

    def kill(self, place: int) -> None:
        """End a store without giving it a chance; its children notice and end, which is waited for."""
        self._look()
        pid = self._processes[place].pid
        children = children_of(pid)
        self._processes.pop(place).destroy()
        wait_until(lambda: not any(map(runs, children)), "the writers to end")

    def stop(self, place: int) -> int:
        """Ask a store to end, and give its exit status."""
        self._look()
        return self._processes.pop(place).stop()

    def signal(self, place: int, number: signal.Signals) -> None:
        """Send a store a signal."""
        self._processes[place].signal(number)

    def output(self, place: int) -> str:
        """Give what a running store has printed."""
        return self._processes[place].output

    @property
    def running(self) -> list[int]:
        """Name the stores that weren't killed."""
        return sorted(self._processes)

    def ended(self) -> dict[int, str]:
        """Give the output of those that ended by themselves."""
        return {place: process.output for place, process in self._processes.items() if not runs(process.pid)}

    @property
    def leader(self) -> int:
        """Name the store that was the last to say that it leads; -1 if none has."""
        self._look()
        newest = max(self._led)
        return self._led.index(newest) if newest else -1

    def _look(self) -> None:
        for place, process in self._processes.items():
            terms = [int(term) for term in _LEADS.findall(process.output)]
            self._led[place] = max([self._led[place], *terms])

    def close(self) -> None:
        """End all of them, their writers too: nothing is written behind it."""
        for place in self.running:
            self.kill(place)

    def __enter__(self) -> Stores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
