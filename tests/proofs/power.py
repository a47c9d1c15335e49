"""
C{make proof-power}: a store that loses power, at every moment of a load, finds all that it had acknowledged.

A whole store (folder, writers, rows, commands, host) works through a load of all types, with flushes, cuts of the
log, checkpoints, restarts and earlier losses of power, on a disk that remembers (L{tests.proofs.recording}). Then,
for every sync that any file got, and every file that was replaced, the files are rebuilt as a loss of power just
before it could have left them: all that was synced, and of what wasn't, for each file by itself, nothing, everything,
some writes and not others, or writes with the last one torn. On each such image a store is started, and

    - the log reaches at least to the last entry of which any client had been told;
    - the data is exactly what a replay of the log from its very beginning gives, in memory, up to where it reaches: so
      every acknowledged write is there, and every other one wholly or not at all;
    - the files are sound: SQLite's own check, the continuity of the logs, the checksums.

Now and then the store runs with C{durability = os}: then an acknowledged write may be gone, but all the rest must hold.
The next part of the load begins on one of the images.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.proofs import load
from tests.proofs.recording import (
    MARK,
    NAMES,
    REPLACE,
    SYNC,
    Choice,
    Disk,
    Event,
    Recorder,
    everything,
    lay_out,
    nothing,
    some,
    torn,
)
from tests.proofs.report import Figures, Run, options, prose
from tests.proofs.whole_store import History, WholeStore, look
from tinykv.storage.check import check_folder

UNITS = 16
SECONDS = 330.0

#: Parts of the load of one unit; between them the power is lost.
PARTS = 3


@dataclass
class Power:
    """
    One store's life through several losses of power.

    @ivar figures: What was looked at.
    @ivar history: The log since the beginning.
    @ivar files: What is surely on the disk at the beginning of the part.
    """

    folder: Path
    random: Random
    figures: Figures = field(default_factory=lambda: dict.fromkeys(("entries", "moments", "images"), 0))
    history: History = field(default_factory=lambda: History([]))
    files: dict[str, bytes] = field(default_factory=dict)

    def live(self, turns: int) -> list[Event]:
        """
        Run a part of the load on the files, with a restart in good order in it, and end in the midst of something.

        @return: All that happened to the files.
        """
        path = self.folder / "live"
        lay_out(self.files, path)
        random = self.random
        with Recorder(str(path), replaced=["data.sum"], noted=["raft.end", "data.end"]) as recorder:
            store = self._start(str(path), recorder)
            stop = random.randrange(turns) if random.random() < 0.7 else -1
            for turn in range(turns):
                for _ in range(random.randint(1, 4)):
                    store.submit(load.group(random))
                store.turn()
                # The two writers are as quick as they happen to be.
                if random.random() < 0.7:
                    store.log.run()
                if random.random() < 0.3:
                    store.data.run()
                if turn == stop:
                    store.settle()
                    store.stop()
                    store = self._start(str(path), recorder)
            if store.failures:
                raise store.failures[0]
            events = list(recorder.events)
            store.abandon()
        return events

    def _start(self, path: str, recorder: Recorder) -> WholeStore:
        promised = self.random.random() < 0.8
        return WholeStore(
            path,
            history=self.history,
            acknowledged=recorder.mark if promised else _nothing_promised,
            durability_os=not promised,
            opened=lambda: recorder.mark(NAMES),
            memtable_bytes=self.random.choice((6_000, 20_000, 60_000)),
            log_checkpoint_bytes=self.random.choice((8_000, 60_000)),
            data_checkpoint_bytes=self.random.choice((8_000, 60_000)),
            seed=self.random.getrandbits(32),
        )

    def lose_power(self, events: list[Event], subsets: int, every: int = 1) -> None:
        """
        Look at what a loss of power may leave, before syncs and replacements and at the end; go on with one of those.

        @param subsets: How many subsets of the unsynced writes, beside nothing and everything.
        @param every: Look only at each so many-th of these moments.
        """
        disk = Disk(self.files)
        acknowledged = self._reached
        moments = 0
        offset = self.random.randrange(every)
        for event in events:
            if event.kind in (SYNC, REPLACE):
                moments += 1
                if moments % every == offset:
                    self._check_cut(disk, acknowledged, subsets)
            elif event.kind == MARK and event.detail != NAMES:
                acknowledged = max(acknowledged, event.detail)
            disk.play(event)
        index, self.files = self._check_cut(disk, acknowledged, subsets)
        self.figures["moments"] += moments
        self.figures["entries"] += len(self.history.entries) - self._reached
        self.history = History(self.history.entries[:index])
        self._reached = index

    #: Index of the last entry of which a client may know at the beginning of the part.
    _reached: int = 0

    def _check_cut(self, disk: Disk, acknowledged: int, subsets: int) -> tuple[int, dict[str, bytes]]:
        """
        Check the images of one moment.

        @return: One of them: how far its log reaches, and its files.
        """
        choices: list[Choice] = [nothing, everything]
        choices += [some if self.random.random() < 0.5 else torn for _ in range(subsets)]
        seen: set[int] = set()
        found: list[tuple[int, dict[str, bytes]]] = []
        for choose in choices:
            image = disk.image(choose, self.random)
            print_of_it = hash(tuple(sorted(image.items())))
            if print_of_it not in seen:
                seen.add(print_of_it)
                found.append((self.check(image, acknowledged), image))
                self.figures["images"] += 1
        return self.random.choice(found)

    def check(self, image: dict[str, bytes], acknowledged: int) -> int:
        """
        Start on an image.

        @return: How far its log reaches.
        """
        path = self.folder / "image"
        lay_out(image, path)
        index, seen = look(str(path))
        assert index >= acknowledged, f"entry {acknowledged} was acknowledged, but the log ends at {index}"
        assert index <= len(self.history.entries), f"entry {index} was never written"
        assert seen == self.history.digests[index], f"the data isn't what {index} entries make"
        problems = check_folder(str(path))
        assert not problems, problems
        return index


def _nothing_promised(index: int) -> None:
    """Learn of an acknowledgement by a store with durability C{os}."""


def lives(folder: Path, seed: int, *, parts: int, turns: int, subsets: int, every: int = 1) -> Figures:
    """
    Live through several parts.

    @return: What was looked at.
    """
    power = Power(folder, Random(seed))
    for _ in range(parts):
        power.lose_power(power.live(turns), subsets, every)
    return power.figures


def fast_folder() -> Path:
    """Give a new folder, in memory where there is such a place: nothing here asks the real disk for anything."""
    memory: Any = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="tinykv-power-", dir=memory if memory.is_dir() else None))


def main(arguments: list[str]) -> None:
    """Run the long form."""
    units, seconds = options(arguments, units=UNITS, seconds=SECONDS)
    run = Run("power", units=units, seconds=seconds)

    def unit(number: int) -> Figures:
        folder = fast_folder()
        try:
            return {**lives(folder, number, parts=PARTS, turns=30, subsets=4), "losses survived": PARTS}
        finally:
            shutil.rmtree(folder)

    complete = run.work(unit)
    print(f"figures are in {run.write('Loss of power', prose(__doc__))}")
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
