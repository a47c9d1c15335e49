"""
A cluster of cores that meets with everything at once, by the choices of one random generator.

Messages are lost, repeated and overtake each other; writes take their time and are lost by crashes; what was applied is
flushed at times; the membership changes; ticks come late. After every step it's checked what must always hold (the Raft
paper, figure 3), and what reads and leases promise.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.raft.disk import Disk
from tests.raft.network import Peer
from tinykv.raft.config import RaftConfig
from tinykv.raft.log import Compacted
from tinykv.raft.membership import ADD_LEARNER, ADD_VOTER, REMOVE, Change, Membership, Step
from tinykv.raft.messages import Entry, Message, SnapshotMeta
from tinykv.raft.quorum import present
from tinykv.raft.refusals import Refused

#: All who may ever be members; the first three begin as voters.
IDS = (1, 2, 3, 4, 5)


class Cluster:
    """
    The peers, what is on its way between them, and what is known to be true of them.

    @ivar now: The time, which all clocks show.
    @ivar elected: The leader of each term.
    @ivar written: Of each (index, term) that was ever in a log: term before it, kind and data.
    @ivar committed: Entry terms by index, of all that anyone knew to be committed.
    @ivar decided: Entries by index, as they were applied.
    """

    def __init__(self, random: Random, config: RaftConfig) -> None:
        self.random = random
        self.config = config
        self.now = 0.0
        self.peers: dict[int, Peer] = {}
        self.next_tick: dict[int, float] = {}
        self.messages: list[Message] = []
        self.elected: dict[int, int] = {}
        self.written: dict[tuple[int, int], tuple[int, int, bytes]] = {}
        self.committed: dict[int, int] = {1: 1}
        self.decided: dict[int, Entry] = {}
        self.known_committed: dict[int, int] = {}
        self.asked: dict[int, int] = {}
        self.proposals = 0
        self.loss = random.choice((0.0, 0.0, 0.05, 0.3))
        self.island: set[int] = set()
        # Half of all clusters have three peers and stay so: these meet more elections.
        self.ids = random.choice((IDS[:3], IDS))
        for peer in self.ids:
            self._create(peer)
        # How often each thing happens, relative to the others, differs from run to run.
        self.actions: list[tuple[Callable[[Peer], None], float]] = [
            (action, weight * random.choice((0.3, 1, 1, 3)))
            for action, weight in (
                (self.deliver, 100),
                (self.finish_write, 100),
                (self.apply, 40),
                (self.flush, 5),
                (self.pass_time, 25),
                (self.propose, 40),
                (self.change, 5 if self.ids == IDS else 0),
                (self.campaign, 8),
                (self.suspect, 5),
                (self.transfer, 3),
                (self.read, 5),
                (self.crash, 4),
                (self.part, 4),
                (self.compact, 1),
                (self.report, 2),
                (self.quiesce, 1),
            )
        ]

    def _create(self, peer: int) -> None:
        """Make a peer: a first member begins with a snapshot of index 1, another with nothing."""
        disk = Disk(Membership(()))
        if peer <= 3:
            disk = Disk(Membership((1, 2, 3)))
            disk.base = (1, 1)
            disk.applied = 1
            disk.offered = SnapshotMeta(1, 1, disk.membership)
            disk.hard_state = disk.hard_state._replace(term=1, commit=1)
        made = self.peers[peer] = Peer(peer, self.config, disk=disk, seed=self.random.randrange(1000))
        made.lazy_disk = made.lazy_apply = made.lazy_flush = True
        self.next_tick[peer] = self.random.random()

    def run(self, steps: int) -> None:
        """Take steps."""
        actions, weights = zip(*self.actions, strict=True)
        for _ in range(steps):
            self.random.choices(actions, weights)[0](self.peers[self.random.choice(self.ids)])

    # What may happen

    def deliver(self, peer: Peer) -> None:
        """Some messages arrive, or are lost, or arrive and stay on their way."""
        random = self.random
        for _ in range(min(len(self.messages), 4)):
            place = int(random.random() ** 3 * len(self.messages))
            fate = random.random()
            message = self.messages[place] if fate < 0.03 else self.messages.pop(place)
            if fate < 1 - self.loss and (message.to in self.island) == (message.sender in self.island):
                receiver = self.peers[message.to]
                receiver.now = self.now
                self.send(receiver, receiver.step(message))

    def send(self, peer: Peer, messages: list[Message]) -> None:
        """Put messages on their way, and check what the peer has done."""
        self.messages += messages
        for ready in peer.readies:
            for entry in ready.entries:
                self.check_written(peer, entry)
        peer.readies.clear()
        for read in peer.reads:
            assert isinstance(read.context, int)
            assert read.index >= self.asked[read.context], "a read would miss what was committed before it"
        peer.reads.clear()
        self.check(peer)

    def finish_write(self, peer: Peer) -> None:
        """A write becomes durable."""
        peer = self.busy(peer, lambda one: bool(one.disk.pending))
        if peer.disk.pending:
            self.send(peer, peer.finish_write())
            self.send(peer, peer.pump())

    def apply(self, peer: Peer) -> None:
        """Some entries are applied."""
        peer = self.busy(peer, lambda one: bool(one.handed))
        peer.apply(self.random.randrange(len(peer.handed) + 1))
        self.send(peer, peer.pump())

    def flush(self, peer: Peer) -> None:
        """What is applied becomes durable."""
        if peer.group.applied > peer.disk.applied:
            peer.flush()

    def pass_time(self, peer: Peer) -> None:
        """Time passes, and some peers see it; a late tick counts once."""
        self.now += self.random.random() * self.config.tick
        for peer in self.peers.values():
            if self.now >= self.next_tick[peer.id] and self.random.random() < 0.8:
                tick = self.config.tick
                self.next_tick[peer.id] += tick * (1 + (self.now - self.next_tick[peer.id]) // tick)
                peer.now = self.now
                peer.group.tick(self.now)
                self.send(peer, peer.pump())

    def propose(self, peer: Peer) -> None:
        """Entries are proposed."""
        peer = self.someone(peer)
        datas = []
        for _ in range(self.random.randrange(1, 4)):
            self.proposals += 1
            datas.append(b"%d" % self.proposals)
        self.ask(peer, lambda: peer.group.propose(datas))

    def change(self, peer: Peer) -> None:
        """A change is proposed."""
        peer = self.someone(peer)
        peers = self.random.sample(self.ids, self.random.choice((1, 1, 2, 3)))
        steps = tuple(Step(self.random.choice((ADD_VOTER, ADD_VOTER, ADD_LEARNER, REMOVE)), peer) for peer in peers)
        if self.random.random() < 0.1:
            steps = ()
        self.ask(peer, lambda: peer.group.propose_change(Change(steps, self.random.random() < 0.8)))

    def campaign(self, peer: Peer) -> None:
        """Hosts have their peers campaign, without waiting for a timeout."""
        for one in self.random.sample(sorted(self.peers), self.random.choice((1, 2, 3))):
            self.peers[one].now = self.now
            self.peers[one].group.campaign(self.now)
            self.send(self.peers[one], self.peers[one].pump())

    def suspect(self, peer: Peer) -> None:
        """Connections with the leader end, rightly or not."""
        for one in self.random.sample(sorted(self.peers), self.random.choice((1, 2, 3))):
            self.peers[one].group.suspect_leader(self.now)

    def part(self, peer: Peer) -> None:
        """Some peers can only speak with each other, or all can speak with all again."""
        self.island = set(self.random.sample(self.ids, self.random.choice((0, 0, 0, 1, 2))))

    def transfer(self, peer: Peer) -> None:
        """Leadership is to go elsewhere."""
        peer = self.someone(peer)
        self.ask(peer, lambda: peer.group.transfer_leader(self.random.choice(self.ids)))

    def read(self, peer: Peer) -> None:
        """Someone reads."""
        peer = self.someone(peer)
        context = len(self.asked)
        self.asked[context] = max(self.committed)
        self.ask(peer, lambda: peer.group.read_index(context))

    def busy(self, peer: Peer, has_work: Callable[[Peer], bool]) -> Peer:
        """Return some peer that has work, or the given one."""
        return self.random.choice([one for one in self.peers.values() if has_work(one)] or [peer])

    def someone(self, peer: Peer) -> Peer:
        """Return a leader, more often than not, or the given peer."""
        return self.busy(peer, lambda one: one.group.leads) if self.random.random() < 0.8 else peer

    def ask(self, peer: Peer, what: Callable[[], object]) -> None:
        """Ask something that may be refused."""
        peer.now = self.now
        try:
            what()
        except Refused:
            return
        self.send(peer, peer.pump())

    def crash(self, peer: Peer) -> None:
        """A peer's store crashes, and starts again."""
        peer.disk.crash()
        peer.start(self.now + self.config.silence if self.config.check_quorum else 0.0)

    def compact(self, peer: Peer) -> None:
        """A log is cut."""
        if peer.disk.applied > peer.disk.base[0]:
            peer.disk.compact(self.random.randint(peer.disk.base[0] + 1, peer.disk.applied))

    def report(self, peer: Peer) -> None:
        """A host says how sending went, which may be wrong."""
        other = self.random.choice(self.ids)
        if self.random.random() < 0.5:
            peer.group.unreachable(other)
        else:
            peer.group.snapshot_done(other, self.random.random() < 0.7)
        self.send(peer, peer.pump())

    def quiesce(self, peer: Peer) -> None:
        """A host finds that nothing goes on."""
        peer = self.someone(peer)
        peer.group.quiesce()
        self.send(peer, peer.pump())

    # What must hold

    def check_written(self, peer: Peer, entry: Entry) -> None:
        """Log matching: an index and a term stand for one entry, and one before it."""
        previous = self.term_at(peer, entry.index - 1)
        if previous is not None:
            what = (previous, entry.kind, entry.data)
            assert self.written.setdefault((entry.index, entry.term), what) == what, f"two logs differ at {entry}"

    def term_at(self, peer: Peer, index: int) -> int | None:
        """Return the term of a peer's entry, or None if it has been cut off or replaced."""
        try:
            return peer.group.term_of(index) if index <= peer.group.last else None
        except Compacted:
            return None

    def check(self, peer: Peer) -> None:
        """Check what must hold of a peer that has done something."""
        group = peer.group
        if group.leads and self.elected.get(group.term) != peer.id:
            assert self.elected.setdefault(group.term, peer.id) == peer.id, f"two leaders in term {group.term}"
            self.check_complete(peer)
        self.check_committed(peer)
        for index, entry in peer.applied.items():
            assert self.decided.setdefault(index, entry) == entry, f"two entries were applied at {index}"
        peer.applied.clear()
        self.check_lease()

    def check_complete(self, peer: Peer) -> None:
        """Leader completeness: who is elected has all that was committed."""
        for index, term in self.committed.items():
            own = self.term_at(peer, index)
            assert own == term or (own is None and index <= peer.group.last), f"the leader lacks entry {index}"

    def check_committed(self, peer: Peer) -> None:
        """State machine safety: what is committed is so everywhere; and it's durable on a majority."""
        group = peer.group
        index = group.committed
        while index not in self.committed and index > 1:
            term = self.term_at(peer, index)
            if term is None:
                break
            self.committed[index] = term
            index -= 1
        if group.committed:
            term = self.term_at(peer, group.committed)
            known = self.committed.get(group.committed)
            assert term is None or known == term, f"two entries are committed at {group.committed}"
        if group.leads and group.committed > self.known_committed.get(peer.id, 0):
            holders = {other.id for other in self.peers.values() if self.has_durably(other, group.committed)}
            assert present(group.membership, holders), f"entry {group.committed} isn't durable on a majority"
        self.known_committed[peer.id] = group.committed

    def has_durably(self, peer: Peer, index: int) -> bool:
        """Tell whether a peer's disk has the committed entry of an index."""
        disk = peer.disk
        return index <= disk.base[0] or (index <= disk.last()[0] and disk.term(index) == self.committed[index])

    def check_lease(self) -> None:
        """With a valid lease no one else is elected, so that nothing is committed that the leader doesn't know."""
        for peer in self.peers.values():
            if peer.group.lease_valid(self.now):
                assert peer.group.term == max(self.elected), "a leader was elected while another had its lease"
                assert peer.group.committed >= max(self.committed), "a lease read would miss something"

    # The end

    def calm_down(self) -> None:
        """From now on everything works; in the end all members agree, and something new can be committed."""
        self.loss = 0.0
        self.island.clear()
        for _ in range(400):
            self.now += self.config.tick
            for peer in self.peers.values():
                self.settle(peer)
            self.exchange()
            if self.is_calm():
                return
        raise AssertionError("the peers don't agree in the end")

    def settle(self, peer: Peer) -> None:
        """A tick passes at a peer; everything is written and applied."""
        peer.now = self.now
        peer.group.wake(self.now)
        peer.group.tick(self.now)
        self.send(peer, peer.pump())
        while peer.disk.pending:
            self.finish_write(peer)
        peer.apply()
        self.flush(peer)
        for other in self.ids:
            peer.group.snapshot_done(other, False)
            if peer.group.leads:
                self.offer_snapshot(peer)
        self.send(peer, peer.pump())

    def offer_snapshot(self, peer: Peer) -> None:
        """Offer a snapshot of now."""
        disk = peer.disk
        disk.offered = SnapshotMeta(disk.applied, disk.term(disk.applied), disk.membership)

    def exchange(self) -> None:
        """Deliver all messages, and what they cause."""
        for _ in range(3000):
            if not self.messages:
                return
            message = self.messages.pop(0)
            peer = self.peers[message.to]
            peer.now = self.now
            self.send(peer, peer.step(message))
            while peer.disk.pending:
                self.finish_write(peer)
            peer.apply()
            self.flush(peer)
            self.send(peer, peer.pump())

    def is_calm(self) -> bool:
        """Tell whether all members of the group have applied the same; if so, try whether more can be decided."""
        leaders = [peer for peer in self.peers.values() if peer.group.leads]
        if not leaders:
            return False
        leader = max(leaders, key=lambda peer: peer.group.term)
        membership = leader.group.membership
        members = {*membership.voters, *membership.learners, *membership.outgoing}
        last = leader.group.last
        if any(self.peers[member].group.applied != last for member in members):
            return False
        if leader.group.transferring:
            return False
        leader.group.propose([b"last"])
        self.send(leader, leader.pump())
        self.settle(leader)
        self.exchange()
        return leader.group.applied > last
