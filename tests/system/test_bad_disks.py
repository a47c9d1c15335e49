"""
Disks that lose bytes, change them, fill up, or can't be written: a store serves what is right, or says clearly that it
can't, and makes nothing worse.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.proofs import load
from tests.proofs.power import fast_folder
from tests.proofs.recording import lay_out
from tests.proofs.whole_store import History, WholeStore, look
from tests.redis_server import BlockingClient, ReplyError, free_port
from tests.system.processes import TWISTD, Process
from tinykv.storage.errors import StorageError

Damage = Callable[[bytearray, Random], None]


def cut(content: bytearray, random: Random) -> None:
    """Lose the end of a file."""
    del content[random.randrange(len(content)) :]


def flip(content: bytearray, random: Random) -> None:
    """Change one bit."""
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def wipe(content: bytearray, random: Random) -> None:
    """Give back zeros for a sector."""
    start = random.randrange(0, len(content), 512)
    content[start : start + 512] = bytes(len(content[start : start + 512]))


class DamagedFileTests(SynchronousTestCase):
    """
    A store's files, as a crash leaves them and as a stop in good order does, with something wrong in one of them.
    """

    def setUp(self) -> None:
        self.folder = fast_folder()
        self.addCleanup(shutil.rmtree, self.folder)
        self.random = Random(7)
        self.acknowledged = 0
        self.history = History([])

    def files(self, *, stopped: bool) -> dict[str, bytes]:
        """Let a store work, and take its files."""
        path = self.folder / "live"

        def acknowledged(index: int) -> None:
            self.acknowledged = index

        store = WholeStore(
            str(path),
            history=self.history,
            acknowledged=acknowledged,
            memtable_bytes=40_000,
            log_checkpoint_bytes=100_000,
            data_checkpoint_bytes=100_000,
        )
        for turn in range(60):
            for _ in range(3):
                store.submit(load.group(self.random))
            store.turn()
            store.log.run()
            if turn % 3 == 0:
                store.data.run()
        store.turn()
        store.log.run()
        if stopped:
            store.settle()
            store.stop()
        files = {
            file.name: file.read_bytes()
            for file in path.iterdir()
            if file.stat().st_size and not file.name.endswith("-shm")
        }
        if not stopped:
            store.abandon()
        return files

    def outcome(self, files: dict[str, bytes]) -> str:
        """Start on some files: "refused" with nothing changed, or "right"."""
        path = self.folder / "damaged"
        lay_out(files, path)
        try:
            index, digest = look(str(path))
        except StorageError as error:
            self.assertIn(str(path), str(error))
            left = {name: (path / name).read_bytes() for name in files}
            self.assertEqual(left, files, str(error))
            return "refused"
        self.assertGreaterEqual(index, self.acknowledged)
        self.assertEqual(digest, self.history.digests[index])
        return "right"

    def outcomes(self, files: dict[str, bytes], name: str, damage: Damage, count: int) -> set[str]:
        """Damage a file in so many ways."""
        found: set[str] = set()
        for _ in range(count):
            content = bytearray(files[name])
            # Much of a small file is zeros already.
            while bytes(content) == files[name]:
                damage(content, self.random)
            found.add(self.outcome({**files, name: bytes(content)}))
        return found

    def test_after_a_stop(self) -> None:
        files = self.files(stopped=True)
        self.assertEqual(sorted(files), ["data.db", "data.sum", "raft.db"])
        self.assertEqual(self.outcome(files), "right")
        for damage in (cut, flip, wipe):
            self.assertEqual(self.outcomes(files, "data.db", damage, 12), {"refused"})
            self.assertEqual(self.outcomes(files, "data.sum", damage, 4), {"refused"})
            # Most of it is free: the entries are in the rows, and cut.
            self.outcomes(files, "raft.db", damage, 12)

    def test_after_a_crash(self) -> None:
        files = self.files(stopped=False)
        self.assertEqual(
            sorted(files),
            ["data.db", "data.db-wal", "data.end", "data.sum", "raft.db", "raft.db-wal", "raft.end"],
        )
        self.assertEqual(self.outcome(files), "right")
        for damage in (cut, flip, wipe):
            for name in files:
                with self.subTest(f"{damage.__name__} {name}"):
                    found = self.outcomes(files, name, damage, 10)
                    self.assertTrue(found)

    def test_a_log_that_was_cut_off(self) -> None:
        files = self.files(stopped=False)
        head = files["raft.db-wal"][:32]
        frame = 24 + 4096
        inside = 32
        while files["raft.db-wal"][inside + 8 : inside + 16] == head[16:24]:
            inside += frame
        for size in (0, 10, 32, inside // 2, inside - frame, inside - 1):
            self.assertEqual(self.outcome({**files, "raft.db-wal": files["raft.db-wal"][:size]}), "refused", size)
        without = {name: content for name, content in files.items() if name != "raft.db-wal"}
        self.assertEqual(self.outcome(without), "refused")
        self.assertEqual(self.outcome({**files, "raft.db-wal": files["raft.db-wal"][:inside]}), "right")


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """
    Mount a disk of its own.

    @raise SkipTest: Only root may, and not everywhere.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise SkipTest("only root can mount a small disk")
    folder = fast_folder()
    try:
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"no small disk can be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def remount(folder: Path, options: str) -> None:
    """Change a mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder that has to outlive a crash."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(("-shm", "LOCK"))}


class DaemonTests(SynchronousTestCase):
    """
    A real daemon on a disk of its own.
    """

    def start(self, disk: Path, **settings: str) -> tuple[Process, int]:
        """Start a daemon with its folder on a disk."""
        port = free_port()
        settings = {
            "data_dir": str(disk / "data"),
            "port": str(port),
            "cluster_port": "off",
            "http_port": "off",
            "ballast_bytes": "0",
            "disk_low_mark": "0",
            "memtable_bytes": "256kb",
            **settings,
        }
        logs = Path(self.mktemp()).absolute()
        daemon = Process([*TWISTD, *(f"--set={name}={value}" for name, value in settings.items())], logs)
        self.addCleanup(daemon.destroy)
        return daemon, port

    def serve(self, disk: Path, **settings: str) -> tuple[Process, BlockingClient]:
        """Start one that can serve, and connect."""
        daemon, port = self.start(disk, **settings)
        daemon.wait_for(lambda: "is ready" in daemon.output, "it was ready")
        client = BlockingClient.tcp("127.0.0.1", port)
        self.addCleanup(client.close)
        return daemon, client

    def refused(self, disk: Path, *words: str) -> None:
        """See one refuse to start, with one line, and nothing changed."""
        before = contents(disk / "data")
        daemon, _ = self.start(disk)
        self.assertEqual(daemon.wait(), 1, daemon.output)
        (line,) = [line for line in daemon.output.splitlines() if "tinykv: " in line]
        for word in words:
            self.assertIn(word, line)
        self.assertNotIn("Traceback", daemon.output)
        self.assertEqual(contents(disk / "data"), before)

    def test_a_disk_that_fills_up(self) -> None:
        with small_disk(6) as disk:
            daemon, client = self.serve(disk)
            value = os.urandom(20_000)
            acknowledged = 0
            try:
                while acknowledged < 1000:
                    client.call("SET", f"key:{acknowledged}", value)
                    acknowledged += 1
            except ConnectionError:
                pass
            self.assertLess(acknowledged, 1000)
            self.assertEqual(daemon.wait(), 70, daemon.output)
            self.assertIn("the disk is full", daemon.output)
            remount(disk, "size=64m")
            daemon, client = self.serve(disk)
            for number in range(acknowledged):
                self.assertEqual(client.call("GET", f"key:{number}"), value)
            self.assertEqual(daemon.stop(), -signal.SIGTERM)

    def test_a_disk_that_is_nearly_full(self) -> None:
        with small_disk(24) as disk:
            daemon, client = self.serve(disk, disk_low_mark="12mb", ballast_bytes="2mb", memtable_bytes="64kb")
            self.assertTrue((disk / "data" / "ballast").exists())
            value = os.urandom(20_000)
            refused: list[ReplyError] = []
            for number in range(2000):
                reply = client.attempt("SET", f"key:{number}", value)
                if isinstance(reply, ReplyError):
                    refused.append(reply)
                    break
            self.assertTrue(refused and refused[0].wire.startswith(b"OOM"), refused)
            self.assertFalse((disk / "data" / "ballast").exists())
            self.assertEqual(client.call("GET", "key:0"), value)
            self.assertEqual(client.call("DEL", "key:0"), 1)
            self.assertEqual(daemon.stop(), -signal.SIGTERM)

    def test_a_disk_that_is_read_only(self) -> None:
        with small_disk(24) as disk:
            daemon, client = self.serve(disk)
            client.call("SET", "a", "1")
            self.assertEqual(daemon.stop(), -signal.SIGTERM)
            remount(disk, "ro")
            self.refused(disk, str(disk), "can't be written")
            remount(disk, "rw")
            daemon, client = self.serve(disk)
            self.assertEqual(client.call("GET", "a"), b"1")
            self.assertEqual(daemon.stop(), -signal.SIGTERM)

    def test_a_changed_byte(self) -> None:
        disk = Path(self.mktemp()).absolute()
        daemon, client = self.serve(disk)
        client.call("SET", "a", os.urandom(2000))
        self.assertEqual(daemon.stop(), -signal.SIGTERM)
        file = disk / "data" / "data.db"
        content = bytearray(file.read_bytes())
        content[-1000] ^= 1
        file.write_bytes(content)
        self.refused(disk, str(file), "isn't what was written there")
