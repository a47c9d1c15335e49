"""
Conversations between two stores, as text: what goes over the wire, line by line.

`python -m tests.peering.conversations` writes them to tests/testdata/peering; the difference is to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.peering.stores import PeerStore, append, pair
from tests.peering.wires import Network
from tests.sources import ROOT
from tinykv.peering.grammar import LineReader
from tinykv.peering.verbs import (
    BEFORE,
    LINK_TO_ACCEPTOR,
    LINK_TO_DIALLER,
    SNAPSHOT_TO_ACCEPTOR,
    SNAPSHOT_TO_DIALLER,
)
from tinykv.raft.messages import APPEND_REPLY, HEARTBEAT, HEARTBEAT_REPLY, VOTE, Message

FOLDER: Final = ROOT / "tests" / "testdata" / "peering"
_VERBS: Final = {**BEFORE, **SNAPSHOT_TO_ACCEPTOR, **SNAPSHOT_TO_DIALLER, **LINK_TO_ACCEPTOR, **LINK_TO_DIALLER}


class Recorded(Network):
    """
    A network that writes down what is delivered.

    @ivar text: What was said. In front is who dialled, and by the arrow who spoke; payloads stand below their lines,
        with odd bytes escaped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        #: How much of what each side wrote has been written down.
        self._shown: dict[int, int] = {}

    def note(self, comment: str) -> None:
        """Write down what happens."""
        self.text.append(f"# {comment}")

    def settle(self) -> None:
        """Let everything happen, and write it down."""
        while True:
            moved = False
            for place, wire in enumerate(self.wires):
                shown = self._shown.get(place, 0)
                self._shown[place] = len(wire.sent)
                own, other = (side.protocol.common.identity.store_id for side in (wire, wire.other))
                self._write(f"{other} <- {own}" if place % 2 else f"{own} -> {other}", wire.sent[shown:])
                moved = wire.move(self.most) or moved
            due = any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls())
            self.clock.advance(0)
            if not moved and not due:
                return

    def _write(self, sides: str, said: bytes) -> None:
        reader = LineReader(_VERBS)
        reader.feed(said)
        while (one := reader.next()) is not None:
            verb, fields, payload = one
            if _VERBS[verb].payload_bytes is None:
                self.text.append(f"{sides}: {b' '.join((verb, *fields)).decode()}")
            else:
                self.text.append(f"{sides}: {b' '.join((verb, *fields)).decode()} {len(payload)}")
                self.text.append(f"{sides}: {ascii(payload)[2:-1]}")


def link(network: Recorded, one: PeerStore, two: PeerStore) -> None:
    """A link: handshake, a turn's messages, a batch of commands and its answer, pings."""
    network.note("store 1 has something for store 2, and dials it")
    one.peering.send(2, 9, Message(VOTE, 2, 1, 5, index=3, log_term=4))
    network.settle()
    network.note("store 2 answers on a link of its own")
    two.peering.send(1, 9, Message(APPEND_REPLY, 1, 2, 5, index=3))
    network.settle()
    network.note("a turn: two regions' heartbeats are one line, an append comes last")
    one.peering.send(2, 9, append(b"*1\r\n$4\r\nPING\r\n"))
    one.peering.send(2, 9, Message(HEARTBEAT, 2, 1, 5, round=17))
    one.peering.send(2, 11, Message(HEARTBEAT, 6, 5, 3, round=4))
    network.settle()
    two.peering.send(1, 9, Message(HEARTBEAT_REPLY, 1, 2, 5, round=17, commit=6))
    two.peering.send(1, 11, Message(HEARTBEAT_REPLY, 5, 6, 3, round=4, commit=12))
    network.settle()
    network.note("batches of commands: one is answered, one did nothing, of one nobody knows; something is pushed")
    for payload in (b"a batch", b"another", b"a third"):
        one.peering.forward(2, payload, lambda outcome, payload: None)
    network.settle()
    answers = two.recorder.answers
    answers[0].answer(b"its replies")
    answers[1].refuse(b"the leader is on store 3")
    two.peering.push(1, b"an invalidation")
    answers[2].unknown()
    network.settle()
    network.note("three seconds later")
    network.run(3.1)
    network.note("store 1 stops")
    one.peering.close()
    network.settle()


def snapshot(network: Recorded, one: PeerStore, two: PeerStore) -> None:
    """A snapshot, on a connection of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "source")
        path.write_bytes(b"the rows of a region")
        one.peering.send_snapshot(2, 9, str(path), b"what it stands for")
        network.settle()


def refused(network: Recorded, one: PeerStore, two: PeerStore) -> None:
    """A store that lost its disk and comes back under its old id."""
    two.folder_ids.known[1] = "folder1-before"
    network.note("store 1 has another folder than the one that store 2 remembers")
    one.peering.send(2, 9, Message(VOTE, 2, 1, 5))
    network.settle()


CONVERSATIONS: Final[dict[str, Callable[[Recorded, PeerStore, PeerStore], None]]] = {
    "link": link,
    "snapshot": snapshot,
    "refused": refused,
}


def render(name: str, folder: Path) -> str:
    """Let two stores converse; return what they said."""
    network, one, two = pair(folder, Recorded())
    assert isinstance(network, Recorded)
    CONVERSATIONS[name](network, one, two)
    return "\n".join((f"# {CONVERSATIONS[name].__doc__}", *network.text, ""))


def main() -> None:
    """Write all conversations anew."""
    for name in CONVERSATIONS:
        with TemporaryDirectory() as folder:
            (FOLDER / f"{name}.txt").write_text(render(name, Path(folder)), encoding="ascii")


if __name__ == "__main__":
    main()
