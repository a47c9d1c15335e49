"""
A region that is merged into its neighbour, on each store that has replicas of both.

Three entries do it, in two logs (L{tinykv.region.merging}). The one that takes the source in waits, on each store,
until that one's own replica is where its service ended; then both are one region, in the rows at once: all of it is in
the memory table in which the target's apply state will say that the entry is contained (R4). What raft.db has of the
source goes only when that is in data.db (R5 a).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from tinykv.errors import Damaged
from tinykv.raft.log import Compacted
from tinykv.raft.messages import Entry
from tinykv.raft.progress import REPLICATE
from tinykv.raft.refusals import ChangeRefused, NotLeader, Refused
from tinykv.redis.operations import COMMANDS, INTERNAL, LOCAL, NOBODY, READ, Operation
from tinykv.region.descriptor import Descriptor
from tinykv.region.merging import (
    BYTES_MAX,
    COMMIT,
    ENTRIES_MAX,
    PREPARE,
    REFUSE,
    CommitMerge,
    Merging,
    PrepareMerge,
    RefuseMerge,
    encode_rollback,
    why_not,
    why_not_with,
)
from tinykv.region.tombstone import encode_merged
from tinykv.store.forwarding import Meant
from tinykv.store.gap import Gap
from tinykv.store.letting_go import LetGo
from tinykv.store.merge_entries import commit_of, merges, prepare, refuse, roll_back, state_in, take_in, taken_in
from tinykv.store.remote_clients import RemoteClient
from tinykv.store.splitting import splits

if TYPE_CHECKING:
    from tinykv.store.apply_queue import ApplyQueue
    from tinykv.store.host import RegionHost

#: How often is looked whether that is over which a merge waits for, such as the installation of a snapshot, in seconds.
LOOK_SECONDS: Final = 0.1
#: After how long it's refused what no store can propose that leads the target, in seconds.
REFUSE_SECONDS: Final = 10.0
#: How often others are asked what became of a merge, where no peer of the target is here, in seconds.
ASK_SECONDS: Final = 1.0
#: For so long a region that is about to be merged waits for whoever leads its target, in seconds.
LEAD_SECONDS: Final = 1.0
#: Least time between two attempts to let another store lead, in seconds.
HAND_OVER_SECONDS: Final = 2.0

#: Reads that go from region to region, one step after another.
_IN_STEPS: Final = frozenset(("scan", "randomkey"))


def _check_peers(host: RegionHost) -> None:
    """
    See that all peers of a region are there and lack little, as this one knows, which leads.

    @raise Refused: One isn't.
    @raise Compacted: What one has was cut off here.
    """
    group = host.group
    for peer, progress in group.progress().items():
        store = host.descriptor.stores.get(peer)
        if peer != group.peer and (progress.state != REPLICATE or group.last - progress.match > ENTRIES_MAX):
            raise ChangeRefused(f"store {store} isn't reached, or lags behind; ask again when it has caught up")
        if peer != group.peer and not host.can_merge(peer):
            raise ChangeRefused(
                f"store {store} can't take part in a merge: it's of an older version, has durability = os, or isn't"
                " reached"
            )
        if not progress.match or group.term_of(progress.match) != group.term:
            raise ChangeRefused(f"store {store} has nothing of this term yet; ask again")


class RegionMerging:
    """
    A region's part in merges, as the one that goes, the source, or the one that stays, the target.

    @ivar state: What is so while it's about to be merged into another one; None if it isn't.
    @ivar gone: Whether it was taken in by another one, or isn't kept in mind here any more.
    @ivar makes_way: Whether it does nothing any more, since a snapshot takes its place.
    """

    log = Logger()

    def __init__(self, host: RegionHost) -> None:
        self.state: Merging | None = None
        self.gone = self.makes_way = False
        self._host = host
        self._region = host.descriptor.region
        #: While that its service ends was proposed: behind which entry the log is kept.
        self._behind: int | None = None
        #: The entry for which it's brought to where its service ended, and who waits for that.
        self._commit: CommitMerge | None = None
        self._waiting: ApplyQueue | None = None
        self._finishing = False
        #: The source that was taken in by the entry that was applied last, and the region's slots before that.
        self._source: RegionHost | None = None
        self._whole = host.descriptor.slots
        self._handed_over = float("-inf")
        #: Since when it's about to be merged, as far as this run knows.
        self._since = 0.0
        self._asked_at = float("-inf")
        #: Who has all that it had.
        self._heir: RegionHost | Gap | None = None

    def load(self) -> None:
        """
        Take over what the rows say.

        @raise Damaged: They don't hold what they must.
        """
        self._be(state_in(self._host.rows, self._region))

    def _be(self, state: Merging | None) -> None:
        self.state = state
        self._since = self._host.clock.seconds()
        self._host.proposals.stopped = state is not None
        self._host.replica.serves = state is None

    def log_needed(self, others: int | None) -> int | None:
        """
        Say behind which index the log mustn't be cut, so that this store can tell others what the source did.

        @param others: The same, for other reasons.
        """
        proposed = self._behind if self._host.proposals.deciding else None
        needed = proposed if self.state is None else self.state.behind
        found = [index for index in (needed, others) if index is not None]
        return min(found, default=None)

    # What is asked for

    def propose(self, target: int) -> int:
        """
        Have the region merged into a neighbour; give the index of the entry with which that begins.

        @raise Refused: It can't be now; nothing was done.
        """
        host = self._host
        if host.regions.durability_os:
            # What all peers have confirmed is taken for what they have.
            raise ChangeRefused("stores with durability = os don't merge regions: what they confirm may yet be lost")
        other = host.regions.hosts.get(target)
        if other is None or other.vacant:
            raise ChangeRefused(f"this store has no replica of region {target}")
        problem = why_not(host.descriptor, other.descriptor)
        if problem is None and other.merging.state is not None:
            problem = f"region {target} is about to be merged itself"
        if problem is None and [db.number for db in host.keyspace.databases] != [
            db.number for db in other.keyspace.databases
        ]:
            problem = f"databases were exchanged in one of regions {self._region} and {target} alone"
        if problem is not None:
            raise ChangeRefused(problem)
        if not host.ready:
            raise NotLeader(host.group.leader_id)
        if not other.ready:
            raise ChangeRefused(f"another store leads region {target}: one has to lead both")
        try:
            # The target may have been cut off this very region, and be there only where that is applied.
            _check_peers(other)
            _check_peers(host)
            behind = self._known_to_all()
        except Compacted:
            raise ChangeRefused("a replica lags behind what the log begins with; ask again later") from None
        about, to = host.descriptor, other.descriptor
        wanted = PrepareMerge(about.version, about.conf_ver, target, to.version, to.conf_ver, behind)
        index = host.proposals.decide(wanted.encode())
        self._behind = behind
        return index

    def _known_to_all(self) -> int:
        """
        Give an entry that all peers have on disk.

        @raise Refused: What some of them lack behind it can't go with the entry of a merge.
        @raise Compacted: It was cut off here.
        """
        group = self._host.group
        behind = min(progress.match for progress in group.progress().values())
        missing = group.last - behind
        entries = self._entries(behind + 1, group.last) if missing else []
        problem = why_not_with(entries, sum(len(entry.data) for entry in entries), missing)
        if problem is None and any(splits(entry.data) or merges(entry.data) for entry in entries):
            problem = "not all replicas know of the last split or merge yet; ask again"
        if problem is not None:
            raise ChangeRefused(problem)
        return behind

    def _entries(self, low: int, last: int) -> list[Entry]:
        """
        Read entries of the log.

        @raise Compacted: The first was cut off.
        """
        found: list[Entry] = []
        while low <= last:
            found += self._host.group.entries(low, last + 1, BYTES_MAX)
            low = found[-1].index + 1
        return found

    def look(self) -> None:
        """Some times a second: see what can be done, so that it's decided what becomes of the region."""
        host, state = self._host, self.state
        if state is None or self.gone or self.makes_way or self._commit is not None or host.queue.failed:
            return
        target = self._target()
        if state.target in host.regions.merged:
            # It was merged itself, without this one: a store that knows of that knows of all that it had taken in.
            self._roll_back(state)
        elif target is None:
            return  # others are asked
        elif state.is_past(target.descriptor.version, target.descriptor.conf_ver):
            # Had it taken this one in, nothing of this one would be here.
            self._roll_back(state)
        elif state.is_at(target.descriptor):
            if target.ready:
                self._have_taken_in(state, target)
            elif host.queue.ready:
                self._ask_to_lead(target)

    def _target(self) -> RegionHost | None:
        """Give the target, if it's known here what is applied of it: what others say of where it lies isn't enough."""
        if self.state is None:
            return None
        target = self._host.regions.hosts.get(self.state.target)
        return target if target is not None and target.group.peer and target.applied else None

    # What others know

    def wants_word(self) -> bool:
        """
        Say whether others are to be asked now what became of a merge, since it can't be seen here: no peer of the
        target is here any more, as its replicas were moved.
        """
        host, now = self._host, self._host.clock.seconds()
        if self.gone or self.makes_way or host.queue.failed or now - self._asked_at < ASK_SECONDS:
            return False
        if self._commit is not None or self.state is not None:
            asks = self._target() is None
        else:
            asks = False
        if asks:
            self._asked_at = now
        return asks

    def told_past(self, version: int, conf_ver: int) -> None:
        """Learn of an epoch of the target that another store has applied, where this region wasn't taken in."""
        state = self.state
        if state is not None and self._commit is None and not self.gone and state.is_past(version, conf_ver):
            self._roll_back(state)

    def told_taken_in(self, into: int, last: Descriptor) -> None:
        """
        Learn from a store that has applied it that this region was taken in by another one. So what is here of it is
        nobody's, unless a peer of that one is here, which may need it.

        @param last: What it was then.
        """
        host = self._host
        heir = host.regions.hosts.get(into)
        if self.gone or self.makes_way or host.queue.failed or (heir is not None and heir.group.peer):
            return
        if not host.group.peer:
            self._drop()
        elif host.bury(self._drop, encode_merged(into, last)):
            what = "region {region} was merged into region {into}, of which no replica is here"
            self.log.info(what, region=self._region, into=into)
            host.regions.merged[self._region] = into

    def _drop(self) -> None:
        """Keep a region in mind no more of which nothing is here."""
        self._host.regions.drop(self._host)

    def _ask_to_lead(self, target: RegionHost) -> None:
        """Where this region is led here, and its target elsewhere: lead both, after a while in which that one could."""
        now = self._host.clock.seconds()
        if now - self._since < LEAD_SECONDS or now - self._handed_over < HAND_OVER_SECONDS:
            return
        self._handed_over = now
        try:
            target.group.transfer_leader(target.group.peer)
        except Refused:
            return  # nobody leads it; the next look tries again
        target.replica.go_on()

    def _have_taken_in(self, state: Merging, target: RegionHost) -> None:
        """Propose that the target, which is led here, takes this region in."""
        try:
            entries = self._entries(state.behind + 1, state.at)
        except Compacted:
            # Another store may have kept them. If none has that can lead, this one is to serve again.
            if self._host.clock.seconds() - self._since < REFUSE_SECONDS:
                self._hand_over(target)
            else:
                self._refuse(state, target)
            return
        commit = CommitMerge(state.version, state.conf_ver, self._region, tuple(entries))
        try:
            target.proposals.decide(commit.encode())
        except Refused:
            return  # something else is being decided there; the next look tries again

    def _refuse(self, state: Merging, target: RegionHost) -> None:
        """Propose that the target, which is led here, doesn't take this region in."""
        try:
            target.proposals.decide(RefuseMerge(state.version, state.conf_ver).encode())
        except Refused:
            return  # something else is being decided there; the next look tries again

    def _roll_back(self, state: Merging) -> None:
        """Propose that this region serves again, if it's led here."""
        host = self._host
        if not host.queue.ready:
            return
        try:
            host.proposals.decide(encode_rollback(state.at), ends_stop=True)
        except Refused:
            return  # it's under way, or leadership is handed over; the next look tries again

    def _hand_over(self, host: RegionHost) -> None:
        """Let another store lead, which may know more."""
        now = host.clock.seconds()
        if host.queue.ready and now - self._handed_over >= HAND_OVER_SECONDS:
            self._handed_over = now
            host.hand_over()

    # What entries say

    def apply(self, arguments: list[bytes]) -> None:
        """Apply an entry that is about a merge."""
        host = self._host
        host.proposals.decided()
        if arguments[0] == COMMIT:
            self._take_in(CommitMerge.decode(arguments))
            return
        before = host.descriptor
        if arguments[0] == PREPARE:
            host.descriptor = prepare(host.rows, before, arguments, host.queue.applied + 1)
        elif arguments[0] == REFUSE:
            host.descriptor = refuse(host.rows, before, arguments)
            if host.descriptor is not before:
                host.clock.callLater(0, host.described)
            return
        else:
            host.descriptor = roll_back(host.rows, before, arguments)
        if host.descriptor is not before:
            self.load()
            host.clock.callLater(0, self._decided)

    def _decided(self) -> None:
        """In a turn of its own: go on with what follows."""
        host, state = self._host, self.state
        if self.gone or host.queue.failed:
            return
        if state is not None:
            what = "region {region} serves nothing until region {target} has taken it in, or is past that"
            self.log.info(what, region=self._region, target=state.target)
        else:
            self.log.info("region {region} wasn't merged, and serves again", region=self._region)
            host.proposals.go_on()
        host.described()
        self.look()

    # The target

    def may_take_in(self, entry: Entry) -> bool:
        """
        Say whether an entry that takes another region in may be applied; if not, the queue is called when it may.

        @raise Damaged: The other one isn't here.
        """
        host = self._host
        commit = commit_of(entry.data)
        if not self._is_for_here(commit):
            return True
        source = host.regions.hosts.get(commit.region)
        if source is None or source.vacant:
            raise Damaged(f"region {self._region} takes in region {commit.region}, which isn't here")
        return source.merging.is_finished(commit, host.queue)

    def _is_for_here(self, commit: CommitMerge) -> bool:
        """Say whether an entry does anything here: a peer that was removed has no source beside it, and ends soon."""
        about = self._host.descriptor
        return commit.is_for(about) and self._host.group.peer in about.stores

    def _take_in(self, commit: CommitMerge) -> None:
        """Apply an entry that takes another region in, which is brought to where its service ended."""
        host = self._host
        if not self._is_for_here(commit):
            return
        source = host.regions.hosts[commit.region]
        # This may rest; nothing begins there any more.
        source.queue.held = True
        self._whole = host.descriptor.slots
        host.descriptor = take_in(host.execution, host.descriptor, source.execution, source.descriptor, commit)
        self._source = source
        host.queue.between = lambda: True

    def after_entries(self) -> None:
        """When the queue rests: go on with what the last entry has begun; not in the midst of anything."""
        if self._source is not None:
            source, self._source = self._source, None
            self._take_over(source)
        if self._finishing:
            self._look_if_finished()

    def _take_over(self, source: RegionHost) -> None:
        """Do here from now on what was to be done in the source."""
        host, regions = self._host, self._host.regions
        region = source.descriptor.region
        host.queue.between = host.flushing.between
        self.log.info("region {region} has taken in region {source}", region=self._region, source=region)
        regions.merged[region] = self._region
        regions.remove(region)
        host.widened(self._whole)
        source.merging.end(host)
        regions.gone(source)
        host.described()
        host.clock.callLater(0, host.queue.go_on)
        host.flush_all(lambda: regions.forget_log(region))

    # The source

    def is_finished(self, commit: CommitMerge, waiting: ApplyQueue) -> bool:
        """
        Say whether this region is where its service ended, so that the target may take it in; if not, it's brought
        there, and the target's queue called then.
        """
        if self._commit is None:
            self._commit, self._waiting = commit, waiting
            # In the reactor's own stack: this may be asked in that of the target.
            self._host.clock.callLater(0, self._finish)
            return False
        return self._is_finished(commit)

    def _is_finished(self, commit: CommitMerge) -> bool:
        return self._finishing and self._host.queue.applied >= commit.at and not self._host.pacer.running

    def _finish(self) -> None:
        """
        Apply what was decided of this region's log until its service ended, whether this peer was told of it or not.

        The peer stops for good: what it promised, and whom it follows, doesn't matter any more.
        """
        host, group, commit = self._host, self._host.group, self._commit
        queue = host.queue
        assert commit is not None, "it's known for what"
        if queue.failed or self.makes_way:
            return
        if queue.held or group.restoring is not None:
            # A snapshot of it is being installed.
            host.clock.callLater(LOOK_SECONDS, self._finish)
            return
        host.replica.stop()
        queue.ready = False
        for batch in queue.batches:
            if not batch.logged:
                # Nobody will answer any more whether this peer leads.
                batch.reading = False
        low, first = group.handed + 1, commit.entries[0].index
        if group.last < first - 1:
            host.fail(Damaged(f"region {self._region}: entry {first - 1} is missing, which this store had on disk"))
            return
        host.replica.entries += self._entries(low, first - 1)
        host.replica.entries += [entry for entry in commit.entries if entry.index >= low]
        self._finishing = True
        queue.hurry()
        queue.go_on()
        self._look_if_finished()

    def _look_if_finished(self) -> None:
        if self._commit is not None and self._waiting is not None and self._is_finished(self._commit):
            waiting, self._waiting = self._waiting, None
            self._host.clock.callLater(0, waiting.go_on)

    # Snapshots of a target

    def make_way(self, sources: tuple[int, ...], stopped: Callable[[], None]) -> None:
        """
        Have regions do nothing any more whose place a snapshot of this one takes: those that were merged into it, and
        those of which nothing is here yet, and that lie elsewhere then. Call back when that is so.
        """
        host = self._host
        regions = host.regions
        others = [regions.hosts[source] for source in sources if source in regions.hosts]
        claimed = regions.claimed.get(self._region)
        if claimed is not None:
            others += [one for one in regions.overlapping(*claimed) if one.group.peer and not one.at_work]
        left = [one for one in others if one is not host and not one.merging.stop()]
        if not left:
            stopped()
        elif not host.queue.failed:
            host.clock.callLater(LOOK_SECONDS, self.make_way, sources, stopped)

    def stop(self) -> bool:
        """Have this region do nothing any more, for good; say if that is so, and what it has promised is on disk."""
        host, queue = self._host, self._host.queue
        if not self.makes_way:
            if queue.held and self._commit is None:
                # A snapshot of it is being installed, or it's being destroyed.
                return False
            self.makes_way = True
            host.replica.stop()
            host.replica.entries.clear()
            queue.ready, queue.held = False, True
        if host.pacer.running or host.replica.oldest_write is not None:
            return False
        host.give_up_all()
        return True

    def take_places(self) -> list[RegionHost]:
        """Let go of the regions whose place a snapshot has taken; give those that were here."""
        host, regions = self._host, self._host.regions
        sources = taken_in(host.rows, self._region)
        regions.merged.update(sources)
        about = host.descriptor
        gone = [regions.hosts[source] for source in sources if source in regions.hosts]
        for other in regions.overlapping(about.start, about.end):
            if other is host or other in gone:
                continue
            if other.may_cede(about):
                whole = other.descriptor.slots
                other.cede(about)
                host.clock.callLater(0, other.hand_on, whole, [host])
            else:
                assert not other.at_work, "a snapshot is installed where others have nothing"
                gone.append(other)
        for other in gone:
            if other.at_work:
                host.rows.replaced(other.descriptor.region, other.descriptor.start, other.descriptor.end)
            regions.remove(other.descriptor.region)
        return gone

    def end_others(self, gone: list[RegionHost]) -> None:
        """End the regions whose place a snapshot has taken: what waits there is for this one, or for whoever has it."""
        regions = self._host.regions
        for other in gone:
            region = other.descriptor.region
            other.merging.end(self._host)
            other.replaced(other.owns)
            regions.gone(other)
            if region in regions.merged:
                what = "region {region} has taken in region {source}, as a snapshot says"
                self.log.info(what, region=self._region, source=region)
                regions.forget_log(region)

    def end(self, heir: RegionHost | Gap) -> None:
        """
        End: another region has all that this one had, or what it has here is nobody's. Hand on what waits here, in its
        order. What came here itself waits on for whatever it waits for, and the other one for that as well.
        """
        host = self._host
        proposals, elsewhere = host.proposals, host.elsewhere
        self.gone = True
        self._heir = heir
        host.give_up_all()
        on_hold = proposals.on_hold
        waiting, ends = proposals.end()

        def let_go() -> None:
            drained()
            for until in ends:
                until()

        drained: Callable[[], None] = lambda: None  # noqa: E731 - one of two
        if elsewhere is not None and (waiting or elsewhere.holds):
            drained = LetGo([heir, host] if on_hold else [heir])
        if on_hold:
            LetGo([heir], proposals.held)()
        if elsewhere is None:
            for operation in waiting:
                self._hand_on(operation)
            let_go()
        else:
            elsewhere.end(waiting, self._hand_on, let_go)
        # Whoever was given this region before it went may yet come.
        host.submit = host.submit_distant = host.submit_moved = self._hand_on
        host.read = host.read_local = lambda client, number, db, spec, arguments: self._hand_on(
            (READ, client, number, db, spec, arguments, None)
        )
        host.refusal = heir.refusal
        host.end()

    def hand_on(self, meant: Sequence[Meant]) -> None:
        """Hand on what has waited until now, in its order."""
        for whole, operations in meant:
            for operation in operations:
                self._hand_on(operation, None if whole == self._host.descriptor.slots else whole)

    def _hand_on(self, operation: Operation, whole: tuple[int, int] | None = None) -> None:
        """
        Take an operation, of which nothing was done, to where it belongs by now.

        @param whole: The slots that the region had when it was given it, if they were others than at last.
        """
        heir = self._heir
        assert heir is not None, "it has ended"
        kind, client, _, _, spec, arguments, _ = operation
        if type(client) is RemoteClient:
            client.refuse()
        elif kind == LOCAL:
            if type(arguments) is LetGo:
                arguments()
            elif client is not NOBODY:
                self._move(operation, heir, whole)
        elif kind == INTERNAL:
            if arguments[0] in (b"wake", b"gone"):
                self._move(operation, heir, whole)
        elif client is NOBODY:
            return
        elif kind in (COMMANDS, READ) and spec.name in _IN_STEPS:
            # These go from place to place.
            heir.submit_moved(operation)
        else:
            self._host.regions.moved(operation, whole or self._host.descriptor.slots, self._host)

    def _move(self, operation: Operation, heir: RegionHost | Gap, whole: tuple[int, int] | None) -> None:
        """Have something done in all regions that have what it was meant for."""
        if whole is None:
            heir.submit_moved(operation)
        else:
            # Some of it was cut off before the region ended.
            self._host.regions.moved(operation, whole, self._host)
