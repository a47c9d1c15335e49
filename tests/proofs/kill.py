"""
C{make proof-kill}: a daemon that is killed in the midst of a load finds all that it had acknowledged, again and again.

Several connections write to a real daemon (C{twistd tinykv}), each to keys of its own, one request or several at a
time: SET, INCR, RPUSH, HSET, ZADD, and transactions that write the same to two keys. When some number of replies have
come, kill -9 ends the daemon, or the daemon and all of its children, or one of these alone, after which the
daemon has to end by itself. Now and then the next start is killed as well. The folder stays the same all the time, and
the memory tables are small, so that tables are written and the log is cut all around the kills; now and then it's a
daemon with C{durability = os}, which promises the same as long as the system itself lives. After each

    - the files are sound: SQLite's own check, the continuity of the log, the checksums;
    - what each connection finds in its keys is exactly what its first N requests make of them, in order, where N is at
      least the number of replies that it had got: so every acknowledged write is there, and every other one wholly or
      not at all, and none came before one that didn't.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Condition, Thread
from typing import Any

from tests.proofs.report import Figures, Run, folder_of, options, prose
from tests.redis_server import BlockingClient, ReplyError, encode_command
from tests.system.processes import TINYKV, TWISTD, Process, children_of, run
from tinykv.storage.check import check_folder
from tinykv.storage.folder import lock_folder

UNITS = 50
SECONDS = 330.0

#: Connections that write.
WRITERS = 5
#: Keys of each type that a connection has.
KEYS = 4
#: Child processes of a daemon: the log writer, the data writer, the reader ahead.
CHILDREN = 3

_PORT = re.compile(r"resp port: 127\.0\.0\.1:(\d+)")

Request = list[bytes]
#: What a connection's keys hold.
Model = dict[bytes, Any]


def apply(model: Model, requests: list[Request]) -> list[Any]:
    """
    Do to a model what the requests do.

    @return: The replies.
    """
    replies: list[Any] = []
    for request in requests:
        name, key = request[0], request[1]
        if name == b"SET":
            model[key] = request[2]
            replies.append(b"OK")
        elif name == b"INCR":
            model[key] = b"%d" % (int(model.get(key, b"0")) + 1)
            replies.append(int(model[key]))
        elif name == b"RPUSH":
            held = model.setdefault(key, [])
            held += request[2:]
            replies.append(len(held))
        elif name == b"HSET":
            held = model.setdefault(key, {})
            replies.append(int(request[2] not in held))
            held[request[2]] = request[3]
        elif name == b"ZADD":
            held = model.setdefault(key, {})
            replies.append(int(request[3] not in held))
            held[request[3]] = request[2]
        else:
            assert name == b"DEL", name
            replies.append(int(model.pop(key, None) is not None))
    return replies


def step(model: Model, requests: list[Request]) -> Any:
    """Do one request, or several as a transaction; give what is to be replied."""
    replies = apply(model, requests)
    return replies if len(requests) > 1 else replies[0]


class Writer:
    """
    One connection's work.

    @ivar model: What its keys hold after all that was acknowledged.
    @ivar pending: What was sent and not acknowledged, in order.
    @ivar acknowledged: How many requests were.
    """

    def __init__(self, name: bytes, random: Random) -> None:
        self.name = name
        self.random = random
        self.model: Model = {}
        self.pending: list[list[Request]] = []
        self.acknowledged = 0
        self.problem: str | None = None

    def _requests(self) -> list[Request]:
        random = self.random
        number = b"%d" % random.randrange(500)
        value = random.randbytes(random.choice((8, 100, 2000)))
        kind = random.randrange(7)
        key = self.name + b":%d:%d" % (kind, random.randrange(KEYS))
        if kind == 0:
            return [[b"SET", key, value]]
        if kind == 1:
            return [[b"INCR", key]]
        if kind == 2:
            # Now and then a list begins anew.
            return [[b"DEL", key]] if random.random() < 0.03 else [[b"RPUSH", key, number, value[:60]]]
        if kind == 3:
            return [[b"HSET", key, number, value[:200]]]
        if kind == 4:
            return [[b"ZADD", key, b"%d" % random.randrange(1000), number]]
        if kind == 5:
            return [[b"SET", key + b":left", value], [b"SET", key + b":right", value]]
        return [[b"INCR", key + b":left"], [b"RPUSH", key + b":list", number], [b"INCR", key + b":right"]]

    def work(self, port: int, told: Callable[[], None]) -> None:
        """
        Write until the connection breaks.

        @param told: Called after each reply.
        """
        try:
            client = BlockingClient.tcp("127.0.0.1", port)
        except OSError:
            return
        try:
            while True:
                sent: list[Request] = []
                for _ in range(self.random.choice((1, 1, 4, 16))):
                    requests = self._requests()
                    self.pending.append(requests)
                    transaction = len(requests) > 1
                    sent += [[b"MULTI"], *requests, [b"EXEC"]] if transaction else requests
                client.send_raw(b"".join(map(encode_command, sent)))
                while self.pending:
                    requests = self.pending[0]
                    if len(requests) > 1:
                        for _ in range(len(requests) + 1):
                            client.read_reply()
                    reply = client.read_reply()
                    expected = step(self.model, requests)
                    # From here on it counts as acknowledged.
                    self.pending.pop(0)
                    self.acknowledged += 1
                    if reply != expected or isinstance(reply, ReplyError):
                        self.problem = f"{requests}: {reply!r} was replied, and not {expected!r}"
                        return
                    told()
        except (ConnectionError, OSError):
            return
        finally:
            client.close()

    def check(self, client: BlockingClient) -> int:
        """
        Compare the keys with the model, and take over what of the unacknowledged requests has happened.

        @return: How many of those had.
        """
        assert self.problem is None, self.problem
        found = read_keys(client, self.name)
        if found == self.model:
            self.pending = []
            return 0
        for count, requests in enumerate(self.pending, 1):
            apply(self.model, requests)
            if found == self.model:
                self.pending = []
                return count
        raise AssertionError(f"what {self.name.decode()} finds is no prefix of what it wrote")


def read_keys(client: BlockingClient, name: bytes) -> Model:
    """Read all keys of a connection."""
    found: Model = {}
    keys = client.call("KEYS", name + b":*")
    for key, kind in zip(keys, client.pipeline([["TYPE", key] for key in keys]), strict=True):
        if kind == b"string":
            found[key] = client.call("GET", key)
        elif kind == b"list":
            found[key] = client.call("LRANGE", key, 0, -1)
        else:
            read = ("HGETALL", key) if kind == b"hash" else ("ZRANGE", key, 0, -1, "WITHSCORES")
            flat = client.call(*read)
            found[key] = dict(zip(flat[::2], flat[1::2], strict=True))
    return found


@dataclass
class Killing:
    """
    A folder, its daemons one after another, and those who write to them.

    @ivar figures: What happened.
    """

    folder: Path
    random: Random
    figures: Figures = field(default_factory=dict)
    writers: list[Writer] = field(default_factory=list)
    starts: int = 0

    def __post_init__(self) -> None:
        """Make the writers."""
        for number in range(WRITERS):
            self.writers.append(Writer(b"w%d" % number, Random(self.random.getrandbits(32))))

    @property
    def data(self) -> Path:
        """The daemons' folder."""
        return self.folder / "data"

    def start(self) -> Process:
        """Start a daemon; it isn't ready yet."""
        self.starts += 1
        settings = {
            "data_dir": str(self.data),
            "port": "0",
            "cluster_port": "off",
            "http_port": "off",
            "memtable_bytes": self.random.choice(("64kb", "64kb", "1mb")),
            "ballast_bytes": "0",
            "durability": self.random.choice(("fsync", "fsync", "fsync", "os")),
        }
        command = [*TWISTD, *(f"--set={name}={value}" for name, value in settings.items())]
        return Process(command, self.folder / f"daemon-{self.starts % 4}.log")

    def port_of(self, daemon: Process) -> int:
        """Wait until a daemon is ready."""
        daemon.wait_for(lambda: "is ready" in daemon.output, "it was ready")
        found = _PORT.search(daemon.output)
        assert found is not None, daemon.output
        return int(found[1])

    def round(self, replies: int) -> Figures:
        """
        Start, compare, write, kill, and check the files.

        @param replies: About how many replies come before the kill.
        """
        figures: Figures = dict.fromkeys(
            ("kills", "kills while starting", "acknowledged", "unacknowledged and there", "unacknowledged and not"), 0
        )
        if self.random.random() < 0.3:
            daemon = self.start()
            # Anywhere from the interpreter's first step to a daemon that is ready.
            time.sleep(self.random.random() * 0.9)
            self._kill(daemon)
            figures["kills while starting"] += 1
            self._check_files()
        daemon = self.start()
        try:
            port = self.port_of(daemon)
            self.compare(port, figures)
            before = sum(writer.acknowledged for writer in self.writers)
            self._write(port, daemon, self.random.randint(replies // 2, replies))
            figures["kills"] += 1
            figures["acknowledged"] += sum(writer.acknowledged for writer in self.writers) - before
        finally:
            daemon.destroy()
        self._check_files()
        return figures

    def compare(self, port: int, figures: Figures) -> None:
        """Compare what is there with what must be."""
        client = BlockingClient.tcp("127.0.0.1", port)
        for writer in self.writers:
            pending = len(writer.pending)
            there = writer.check(client)
            figures["unacknowledged and there"] += there
            figures["unacknowledged and not"] += pending - there
        client.close()

    def _write(self, port: int, daemon: Process, replies: int) -> None:
        """Let all write, and kill after so many replies."""
        progress = Condition()
        count = 0

        def told() -> None:
            nonlocal count
            with progress:
                count += 1
                if count == replies:
                    progress.notify()

        threads = [Thread(target=writer.work, args=(port, told)) for writer in self.writers]
        for thread in threads:
            thread.start()
        with progress:
            reached = progress.wait_for(lambda: count >= replies, 60)
        # Just behind a reply the daemon has nothing to do; a little later anything may be under way.
        time.sleep(self.random.random() * 0.02)
        self._kill(daemon)
        for thread in threads:
            thread.join()
        assert reached, f"only {count} of {replies} replies came:\n{daemon.output}"

    def _kill(self, daemon: Process) -> None:
        """Kill the daemon, or it and its children at once, or one of these; wait for the daemon's end."""
        children = children_of(daemon.pid)
        assert len(children) <= CHILDREN, "a new child isn't killed alone"
        victims = [daemon.pid]
        choice = self.random.random()
        if choice < 0.4:
            victims += children
        elif choice < 0.6 and len(children) == CHILDREN:
            victims = [self.random.choice(children)]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                # It was quicker: without its daemon a child ends by itself.
                continue
        status = daemon.wait()
        assert status == (-signal.SIGKILL if daemon.pid in victims else 70), f"{status}:\n{daemon.output}"

    def _check_files(self) -> None:
        """Check the files, once the writers have let go of them."""
        if not self.data.exists():
            return
        lock = lock_folder(str(self.data), 30.0)
        try:
            names = {path.name for path in self.data.iterdir()}
            if {"raft.db", "data.db"} <= names:
                problems = check_folder(str(self.data))
                assert not [text for text in problems if "never finished" not in text], problems
        finally:
            os.close(lock)

    def end(self) -> None:
        """Start once more, compare, stop in good order, and let `tinykv check` look at everything."""
        daemon = self.start()
        try:
            self.compare(self.port_of(daemon), dict.fromkeys(("unacknowledged and there", "unacknowledged and not"), 0))
            status = daemon.stop()
            assert status == -signal.SIGTERM, daemon.output
        finally:
            daemon.destroy()
        checked = run([*TINYKV, "check", str(self.data)])
        assert checked.returncode == 0, checked.stdout + checked.stderr


def main(arguments: list[str]) -> None:
    """Run the long form: all rounds on one folder."""
    units, seconds = options(arguments, units=UNITS, seconds=SECONDS)
    # The rounds build on each other, so an interrupted run has no use for its beginning.
    proof = Run("kill", units=units, seconds=seconds, resume=False)
    with folder_of("kill") as folder:
        killing = Killing(folder, Random())
        complete = proof.work(lambda number: killing.round(3000))
        killing.end()
    print(f"figures are in {proof.write('kill -9', prose(__doc__))}")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
