"""
A group in memory: its peers, their simulated disks, and the messages between them.

Unless a test wants otherwise, writes are durable and entries applied as soon as that may be, and messages arrive in
the order in which they were sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from tests.raft.disk import Disk
from tinykv.raft.config import RaftConfig
from tinykv.raft.core import ROLE_NAMES
from tinykv.raft.group import Group, Read, Ready
from tinykv.raft.membership import Membership
from tinykv.raft.messages import APPEND_REPLY, CHANGE, NORMAL, PRE_VOTE_REPLY, VOTE_REPLY, Entry, HardState, Message
from tinykv.raft.wire import decode_change, decode_message, encode_message

#: As the paper has it: who campaigns isn't asked whether it should, and deposes whom it can.
PLAIN = RaftConfig(tick=1.0, drift_bound=0.5, heartbeat_ticks=1, pre_vote=False, check_quorum=False)
#: As stores run it.
FULL = RaftConfig(tick=1.0, drift_bound=0.5, heartbeat_ticks=1)


class Peer:
    """
    A peer and its host.

    @ivar lazy_disk: Writes are durable only when C{finish_write} is called.
    @ivar lazy_apply: Entries are applied only when C{apply} is called.
    @ivar lazy_flush: What was applied is forgotten by a crash unless C{flush} was called.
    @ivar applied: The entries that were applied, by index; a snapshot leaves a gap.
    @ivar handed: Entries that wait to be applied.
    """

    def __init__(
        self,
        peer: int,
        config: RaftConfig = PLAIN,
        voters: Iterable[int] = (1, 2, 3),
        *,
        seed: int = 0,
        disk: Disk | None = None,
        quiet_until: float = 0.0,
    ) -> None:
        self.id = peer
        self.config = config
        self.disk = disk or Disk(Membership(tuple(voters)))
        self.seed = seed
        self.lazy_disk = self.lazy_apply = self.lazy_flush = False
        self.applied: dict[int, Entry] = {}
        self.handed: deque[Entry] = deque()
        self.reads: list[Read] = []
        self.lost_reads: list[object] = []
        self.readies: list[Ready] = []
        self.now = 0.0
        self.start(quiet_until)

    def start(self, quiet_until: float = 0.0) -> None:
        """Start, or start again from what is on the disk."""
        self.seed += 1
        self.handed.clear()
        disk = self.disk
        hard_state = disk.hard_state
        commit = max(min(hard_state.commit, disk.last()[0]), disk.applied)
        self.group = Group(
            self.id,
            self.config,
            Random(self.id * 1000 + self.seed),
            disk,
            HardState(hard_state.term, hard_state.vote, commit),
            disk.membership,
            disk.applied,
            quiet_until,
        )

    def crash(self) -> None:
        """Lose what isn't durable, and start again."""
        self.disk.crash()
        self.start()

    def step(self, message: Message) -> list[Message]:
        """Take a message, as bytes carry it; return what is sent in answer."""
        self.group.step(decode_message(encode_message(message)), self.now)
        return self.pump()

    def tick(self, count: int = 1) -> list[Message]:
        """Let time pass; return what is sent."""
        sent = []
        for _ in range(count):
            self.now += self.config.tick
            self.group.tick(self.now)
            sent += self.pump()
        return sent

    def pump(self) -> list[Message]:
        """Do what there is to do; return the messages that may be sent."""
        sent = []
        while (ready := self.group.ready()) is not None:
            self.readies.append(ready)
            sent += ready.messages
            if ready.number:
                self.disk.begin(ready)
                if not self.lazy_disk:
                    sent += self.finish_write()
            else:
                assert not ready.promises, "promises wait for a write"
            self.handed += ready.committed
            if not self.lazy_apply:
                self.apply()
            self.reads += ready.reads
            self.lost_reads += ready.lost_reads
        return sent

    def finish_write(self) -> list[Message]:
        """Make the oldest write durable; return what waited for it."""
        number, promises = self.disk.finish()
        self.group.persisted(number)
        return promises

    def finish_writes(self) -> list[Message]:
        """Make all writes durable; return what is sent."""
        sent = []
        while self.disk.pending:
            sent += self.finish_write()
        return sent + self.pump()

    def apply(self, count: int | None = None) -> None:
        """Apply what was handed out, or some of it."""
        for _ in range(len(self.handed) if count is None else count):
            entry = self.handed.popleft()
            if entry.index <= self.group.applied:
                continue  # a snapshot was installed that has it
            self.applied[entry.index] = entry
            if entry.kind == CHANGE:
                assert entry.index <= self.disk.hard_state.commit, "it's durable that the change is committed"
                self.group.apply_change(decode_change(entry.data))
            self.group.applied_to(entry.index)
            if not self.lazy_flush:
                self.flush()

    def flush(self) -> None:
        """Keep on disk up to where entries are applied."""
        self.disk.apply(self.group.applied, self.group.membership)

    @property
    def role(self) -> str:
        """The name of its role."""
        return ROLE_NAMES[self.group.role]

    @property
    def log(self) -> list[tuple[int, bytes]]:
        """Terms and data of all that the log holds, durable or not."""
        return [(entry.term, entry.data) for entry in self.log_entries()]

    def log_entries(self) -> list[Entry]:
        """List the entries of the log, durable or not."""
        entries = {entry.index: entry for entry in self.disk.log}
        for ready in self.disk.pending:
            if ready.entries:
                entries = {index: entry for index, entry in entries.items() if index < ready.entries[0].index}
                entries.update((entry.index, entry) for entry in ready.entries)
        return [entries[index] for index in sorted(entries)]

    @property
    def data(self) -> list[bytes]:
        """The data that was applied, in order, without the entries that open terms."""
        return [entry.data for _, entry in sorted(self.applied.items()) if entry.data and entry.kind != CHANGE]


class Network:
    """
    Peers, and the messages on their way.

    @ivar lost: Says of a message whether it's lost; by default none is.
    @ivar sent: All messages that were sent, lost ones included.
    """

    def __init__(self, peers: int | Iterable[Peer], config: RaftConfig = PLAIN) -> None:
        if isinstance(peers, int):
            ids = range(1, peers + 1)
            peers = [Peer(peer, config, ids) for peer in ids]
        self.peers = {peer.id: peer for peer in peers}
        self.queue: deque[Message] = deque()
        self.sent: list[Message] = []
        self.isolated: set[int] = set()
        self.lost: Callable[[Message], bool] = lambda message: False

    def __getitem__(self, peer: int) -> Peer:
        return self.peers[peer]

    def add(self, peer: Peer) -> None:
        """Bring in a peer; its clock is that of the others."""
        peer.now = max(other.now for other in self.peers.values())
        self.peers[peer.id] = peer

    def isolate(self, *peers: int) -> None:
        """Lose all messages to and from peers."""
        self.isolated |= set(peers)

    def heal(self) -> None:
        """Lose no messages any more."""
        self.isolated.clear()
        self.lost = lambda message: False

    def send(self, messages: Iterable[Message]) -> None:
        """Put messages on their way."""
        self.sent += (messages := list(messages))
        self.queue += messages

    def settle(self) -> None:
        """Deliver messages until there are none."""
        for peer in self.peers.values():
            self.send(peer.pump())
        for _ in range(10_000):
            if not self.queue:
                return
            message = self.queue.popleft()
            if {message.to, message.sender} & self.isolated or self.lost(message) or message.to not in self.peers:
                continue
            self.send(self.peers[message.to].step(message))
        raise AssertionError("the peers don't come to rest")

    def tick(self, count: int = 1, *, only: Iterable[int] = ()) -> None:
        """Let time pass for all, or for some; deliver what is sent after each tick."""
        for _ in range(count):
            for peer in [self.peers[peer] for peer in only] or self.peers.values():
                self.send(peer.tick())
            self.settle()

    def elect(self, peer: int) -> None:
        """Have a peer campaign, and deliver what is sent."""
        self.peers[peer].group.campaign(self.peers[peer].now)
        self.settle()

    def propose(self, *datas: bytes) -> None:
        """Propose at the leader of the latest term, and deliver what is sent."""
        self.leader.group.propose(datas)
        self.settle()

    @property
    def leader(self) -> Peer:
        """The leader of the latest term."""
        leaders = [peer for peer in self.peers.values() if peer.group.leads]
        return max(leaders, key=lambda peer: peer.group.term)

    def roles(self) -> list[str]:
        """The roles of all, in the order of their ids."""
        return [self.peers[peer].role for peer in sorted(self.peers)]


def peer_with(
    terms: Iterable[int] = (),
    *,
    peer: int = 1,
    voters: Iterable[int] = (1, 2, 3),
    term: int = 0,
    vote: int = 0,
    commit: int = 0,
    config: RaftConfig = PLAIN,
) -> Peer:
    """Start a peer whose disk has a log of some terms."""
    disk = Disk(Membership(tuple(voters)))
    disk.log = [Entry(index, term, NORMAL, b"%d" % index) for index, term in enumerate(terms, 1)]
    disk.hard_state = HardState(max((term, *terms)), vote, commit)
    return Peer(peer, config, disk=disk)


def make_candidate(peer: Peer) -> list[Message]:
    """Have a peer campaign; return what it sends."""
    peer.group.campaign(peer.now)
    return peer.pump()


def make_leader(peer: Peer) -> list[Message]:
    """Have a peer be elected by all others; return what it sends then."""
    sent = make_candidate(peer)
    others = [voter for voter in peer.group.membership.voters if voter != peer.id]
    if peer.role == "pre-candidate":
        for voter in others[: len(others) // 2 + 1]:
            sent = peer.step(Message(PRE_VOTE_REPLY, peer.id, voter, peer.group.term + (peer.role == "pre-candidate")))
    for voter in others[: len(others) // 2 + 1]:
        sent = sent if peer.group.leads else peer.step(Message(VOTE_REPLY, peer.id, voter, peer.group.term))
    assert peer.group.leads
    return sent


def accept_all(peer: Peer, *followers: int) -> list[Message]:
    """Have followers acknowledge all that a leader has; return what it sends then."""
    sent = []
    for follower in followers:
        sent += peer.step(Message(APPEND_REPLY, peer.id, follower, peer.group.term, index=peer.group.last))
    return sent
