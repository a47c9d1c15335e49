"""
Where the layers meet: what the parts above may ask of the parts below, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, TypedDict

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from tinykv.config import StoreConfig
    from tinykv.gateway.config import GatewayConfig
    from tinykv.placement.operators import Order
    from tinykv.placement.region_info import RegionInfo
    from tinykv.placement.stores import StoreRecord, StoreStats
    from tinykv.raft.messages import Message
    from tinykv.redis.execution import Execution
    from tinykv.redis.operations import Client, Operation
    from tinykv.redis.spec import CommandSpec
    from tinykv.storage.errors import StorageError
    from tinykv.storage.snapshot_maker import Made
    from tinykv.storage.tables import MemTable
    from tinykv.storage.writers import LogBatch


#: The options of a daemon that has clients.
ClientConfig: TypeAlias = "StoreConfig | GatewayConfig"


class ILogWriter(Interface):
    """
    Makes batches of log entries, votes and terms durable, in the order in which they were given.
    """

    def write(batch: LogBatch, done: Callable[[], None]) -> None:
        """
        Take a batch over; it mustn't be changed afterwards.

        C{done} is called in a later turn when it is durable, after the C{done} of every earlier batch.
        Batches that wait together become durable together, with one fsync. After a failure no C{done} is
        called any more.
        """

    def failed(callback: Callable[[StorageError], None]) -> None:
        """
        Register what is called, once, with the error that ended the writer. The store has to stop: what was
        not reported durable may be so or not, and no retry can tell.
        """

    def close() -> Deferred[None]:
        """
        Take no more batches.

        @return: fires when all batches are durable and the file is closed; fails with a StorageError.
        """


class IDataWriter(Interface):
    """
    Writes frozen memory tables into data.db, in the order in which they were given, each in one transaction.
    """

    def flush(table: MemTable, done: Callable[[], None]) -> None:
        """
        Take a frozen table. Its live objects are encoded some at a time, in later turns.

        C{done} is called when the table is committed: the time to retire it and to cut the log behind it.
        """

    def failed(callback: Callable[[StorageError], None]) -> None:
        """
        Register what is called, once, with the error that ended the writer. The store has to stop.
        """

    def close() -> Deferred[None]:
        """
        Take no more tables.

        @return: fires when all tables are committed and the file is closed; fails with a StorageError.
        """


class IReadAhead(Interface):
    """
    Reads rows from data.db before they're needed, so that nobody has to wait for the disk meanwhile.

    What is read lies with the row store, whose users don't notice but by their speed.
    """

    def keys(keys: list[bytes], done: Callable[[], None]) -> None:
        """
        Read rows of family C{data}; C{done} is called in a later turn, after those of all earlier calls.
        """

    def failed(callback: Callable[[StorageError], None]) -> None:
        """
        Register what is called, once, with the error that ended it. The store has to stop.
        """

    def close() -> Deferred[None]:
        """
        Take no more questions.

        @return: fires when the file is closed; fails with a StorageError.
        """


class Histogram(Protocol):
    """
    Takes observations, as C{prometheus_client.Histogram} does.
    """

    def observe(self, amount: float) -> None:
        """
        Take one.
        """


class ApplyDurations(Protocol):
    """
    Where whoever applies entries tells how long its slow steps took.
    """

    @property
    def flush_seconds(self) -> Histogram:
        """
        From handing a table to the data writer until it's in data.db.
        """

    @property
    def flush_bytes(self) -> Histogram:
        """
        The memory of such a table.
        """

    @property
    def turn_seconds(self) -> Histogram:
        """
        How long applying what was decided held the reactor at a time.
        """


class IRegionHost(Interface):
    """
    Where the RESP ports take commands on data to: the part of a store that proposes and applies.

    An operation is a tuple as L{tinykv.redis.operations} describes. Its client is answered in a later turn, in the
    order in which that client's operations were given.
    """

    start_id: int = Attribute("Names this run of the store.")
    execution: Execution = Attribute("The commands at work on the data; None where it isn't known where that is.")
    table_bytes: int = Attribute("Memory of changes that aren't in data.db yet.")
    replaced: Callable[[Callable[[Operation], bool]], None] = Attribute(
        "Called when a snapshot has taken the place of data, with what says whether an operation was about that data."
    )

    def submit(operation: Operation) -> None:
        """
        Take an operation in for this turn's proposal.
        """

    def submit_moved(operation: Operation) -> None:
        """
        Take an operation in that was meant for a region of which this one was a part, and which did nothing of it.
        """

    def read(client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """
        Run a read now, by the clock: linearizable, since everything acknowledged has been applied.

        @return: The reply; None if the client is answered later, because a key's expiry must be applied first.
        """

    def read_local(client: Client, number: int, db: int, spec: CommandSpec, arguments: list[bytes]) -> bytes | None:
        """
        Run a read now on what is applied here, old as it may be; but clients see what they have done themselves, once
        C{expect_local_reads} was called.

        @return: As C{read} does.
        """

    def expect_local_reads() -> None:
        """Learn that some client reads what is applied here."""

    def refusal(spec: CommandSpec) -> bytes | None:
        """
        @return: Why a command can't be taken now (an error reply), or None if it can.
        """

    def undone() -> list[Operation]:
        """
        @return: The operations that wait to be proposed, here or elsewhere: certainly nothing of them was done.
        """


class SlotRange(NamedTuple):
    """
    Slots that lie in one region.

    @ivar first: The first of them; C{last} is the last.
    @ivar owner: The store that clients are to go to with them.
    @ivar led: Whether that one is known to lead them, or to pass on what comes; while nobody is, C{owner} is a guess.
    @ivar term: The term of the region's group; 0 where the region isn't known.
    @ivar stores: Who has a replica of it.
    """

    first: int
    last: int
    owner: int
    led: bool
    term: int
    stores: tuple[int, ...]


class ISlots(Interface):
    """
    Which store leads which slots, as far as this one knows, and where clients of the cluster find it.
    """

    store_id: int = Attribute("This store.")
    cluster_id: str = Attribute("What tells this cluster from others.")

    def owner(slot: int) -> int | None:
        """
        @return: The store that clients are to go to with a slot: the one that leads its region; this one, which passes
            commands on, where it isn't known how they find that; None while nobody is known to lead, or the region
            isn't known.
        """

    def shows(slot: int) -> bool:
        """
        Say whether this store tells of a slot's keys to a client that asks all masters: it leads there, or did last.
        """

    def ranges() -> list[SlotRange]:
        """
        @return: All slots, in their order.
        """

    def address(store_id: int) -> tuple[str, int] | None:
        """
        @return: Host and port where clients of the cluster find a store; None if that isn't known.
        """

    def is_up(store_id: int) -> bool:
        """
        Tell whether a store can be reached from here; this one always can.
        """

    def execution(slot: int) -> Execution | None:
        """
        @return: The commands at work on the data in a slot; None where its region isn't known, so there's no data.
        """


class Outcome(Enum):
    """
    What became of a batch of commands that was given to another store.
    """

    #: It was taken in there, and this is the answer.
    ANSWERED = "answered"
    #: It certainly did nothing, and may be sent again.
    REFUSED = "refused"
    #: Nobody can tell whether it did something.
    UNKNOWN = "unknown"


class IPeering(Interface):
    """
    The links to all other stores of the cluster.

    What goes to one store in a turn leaves together at its end, or with L{flush}. Nothing is sent twice and nothing is
    waited for: what can't leave is dropped or refused, and the handler or the caller hears of it in a later turn.
    """

    def handle(handler: IPeerHandler) -> None:
        """
        Register who hears what comes in; once, before anything is sent or listened for.
        """

    def send(store_id: int, region_id: int, message: Message) -> None:
        """
        Send a Raft message to a region's peer on another store. Messages may be lost, and overtake each other; of a
        region's heartbeats to one store only the latest leaves. A lost one, unless it's a heartbeat, is reported by
        L{IPeerHandler.unreachable}.
        """

    def flush() -> None:
        """
        Let everything leave now, rather than at the end of the turn.
        """

    def forward(store_id: int, payload: bytes, answered: Callable[[Outcome, bytes], None]) -> None:
        """
        Send a batch of commands, once. Batches to one store arrive in order.

        @param answered: Called once, in a later turn, with the outcome and the bytes of the answer or refusal. These
            are empty for an unknown outcome, and for a refusal by this side, for lack of a link or of room. Behind a
            refusal by this side all batches to that store are refused until its caller has heard of it.
        """

    def push(store_id: int, payload: bytes) -> bool:
        """
        Send bytes to a store or a gateway by the link that it opened, in one order with the answers to its batches.

        @return: Whether there is such a link. If not, or if the link is lost with it, that store hears of its end by
            L{IPeerHandler.link_down}.
        """

    def is_connected(gateway_id: int) -> bool:
        """
        Tell whether a gateway has a link to this store.
        """

    def send_snapshot(store_id: int, region_id: int, path: str, meta: bytes) -> Deferred[None]:
        """
        Send a file, on a connection of its own; broken ones are resumed where they broke. The file mustn't change
        meanwhile. There may be one at a time for each region and store.

        @return: fires when the other store has the file whole and verified. Fails with
            L{tinykv.peering.errors.SnapshotFailed}; may be cancelled.
        """

    def is_up(store_id: int) -> bool:
        """
        Tell whether the link to a store is up.
        """

    def can(store_id: int, feature: str) -> bool:
        """
        Tell whether the link to a store is up, and that store can do something beyond the protocol's version.
        """

    def forget(store_id: int) -> None:
        """
        Close the link to a store that is no longer in the cluster, and dial it no more.
        """

    def close() -> Deferred[None]:
        """
        End all connections, and open no more.

        @return: fires when they are closed.
        """


class IForwardAnswer(Interface):
    """
    Where the answer to a batch goes that another store forwarded. Exactly one of these is called, once, at any time.
    If the link is gone by then nothing happens: the other side knows that the outcome is unknown.
    """

    crowded: bool = Attribute(
        "Whether so many answers wait for that store that a batch is better refused; when too many wait the link ends."
    )

    def answer(payload: bytes) -> None:
        """
        Give the answer.
        """

    def refuse(payload: bytes) -> None:
        """
        Say that the batch certainly did nothing, and why.
        """

    def unknown() -> None:
        """
        Say that nobody can tell what the batch did.
        """


class IPeerHandler(Interface):
    """
    Who hears what other stores send. All that is passed has been checked for its form; nothing of it for its meaning.
    """

    def sender_store(region_id: int, peer_id: int) -> int | None:
        """
        @return: The store that a region's peer is on; None if that isn't known here. A message that comes from
            another store is refused.
        """

    def received(store_id: int, region_id: int, message: Message) -> None:
        """
        Take a Raft message.
        """

    def unreachable(store_id: int, region_id: int) -> None:
        """
        Learn that messages to a region's peer were lost; once a turn, however many they were.
        """

    def forwarded(store_id: int, payload: bytes, answer: IForwardAnswer) -> None:
        """
        Take a batch of commands. A batch comes once, though its origin may never learn what became of it.
        """

    def pushed(store_id: int, payload: bytes) -> None:
        """
        Take what a store pushed.
        """

    def link_up(store_id: int) -> None:
        """
        Learn that the link to a store, which this store dials, is up.
        """

    def link_down(store_id: int) -> None:
        """
        Learn that it's down: nothing more will be pushed from there, and something may have been lost.
        """

    def snapshot_offered(store_id: int, region_id: int, size: int, meta: bytes) -> str | None:
        """
        @return: None to take a snapshot, or why not.
        """

    def snapshot_received(store_id: int, region_id: int, path: str, meta: bytes) -> None:
        """
        Take over the finished, verified, durable file of a snapshot.
        """


class IFolderIds(Interface):
    """
    Which folder each store of the cluster has, durably: a store that comes with another one lost its disk (R16).
    """

    def lookup(store_id: int) -> str | None:
        """
        @return: The folder that is remembered for a store, or None.
        """

    def remember(store_id: int, folder_id: str) -> Deferred[None]:
        """
        Remember a store's folder, if none is remembered yet; the first that was given stays.

        @return: fires when it's durable; L{lookup} tells it by then.
        """


class ISnapshotFile(Interface):
    """
    A file that is sent. Reads block, and are of at most 256 KiB.
    """

    size: int = Attribute("Its length in bytes.")

    def read(offset: int, size: int) -> bytes:
        """
        Read a piece, whole.

        @raise OSError: It can't be read, or the file has become shorter.
        """

    def close() -> None:
        """
        Let go of it.
        """


class ISnapshotSink(Interface):
    """
    A file that arrives, under a temporary name until it's whole.
    """

    kept: int = Attribute("How many bytes there are, from an earlier connection or an earlier run.")

    def read(offset: int, size: int) -> bytes:
        """
        Read a piece of what there is, at most 256 KiB.

        @raise OSError: It can't be read.
        """

    def write(data: bytes) -> None:
        """
        Append a piece, at most 256 KiB.

        @raise OSError: It can't be written.
        """

    def finish() -> Deferred[str]:
        """
        Make it durable, under its lasting name, and let go of it, whether that succeeds or not.

        @return: fires with its path; fails with OSError.
        """

    def discard() -> None:
        """
        Delete it, for it's not what was sent.
        """

    def close() -> None:
        """
        Let go of it, and keep what there is for another connection.
        """


class ISnapshotFiles(Interface):
    """
    Opens the files of snapshots.
    """

    def open(path: str) -> ISnapshotFile:
        """
        Open a file to send.

        @raise OSError: It can't be opened.
        """

    def sink(store_id: int, region_id: int, digest: str, size: int) -> ISnapshotSink:
        """
        Open a file to receive into, with what there is of it.

        @param digest: The SHA-256 of the whole in hex, by which one that was begun is found again.
        @raise OSError: It can't be opened, or there's no room for it.
        """


class MemberView(TypedDict):
    """
    A member of the cluster, as one store sees it.

    C{role} is C{voter}, C{learner} (it gets the log and has no vote), or C{outgoing} (it votes until the change that
    is under way is done). C{up} says whether that store can be reached from the one that tells; of itself it's true.
    """

    store: int
    address: str
    role: str
    leads: bool
    up: bool


#: What is worse than what, of a store's parts in several regions.
_ROLES: Final = ("voter", "outgoing", "learner")


def merged_member(one: MemberView, other: MemberView) -> MemberView:
    """
    Put together what a store is in several regions: a voter where it votes in all of them.
    """
    return MemberView(
        store=one["store"],
        address=one["address"] or other["address"],
        role=max(one["role"], other["role"], key=_ROLES.index),
        leads=one["leads"] or other["leads"],
        up=one["up"] or other["up"],
    )


class ReplicaView(TypedDict):
    """
    How far a member has one region's log: C{match} is the last entry that it's known to have, C{lag} by how many
    entries that is behind the leader's last. Both are None where it isn't known, as on all stores but the leader's.
    """

    store: int
    role: str
    match: int | None
    lag: int | None


class RegionView(TypedDict):
    """
    A region, as one store sees it: the log is decided up to C{commit} and applied up to C{applied} there.

    C{leader} is the store that leads it, None while none is known. Its slots are those from C{first} to C{last}, as of
    what is applied there.
    """

    region: int
    first: int
    last: int
    term: int
    leader: int | None
    commit: int
    applied: int
    members: list[ReplicaView]


#: How long replicas may be told at most to take for summing up their rows, in seconds, and how long if nobody says.
CHECKSUM_SECONDS_MAX: Final = 3600
CHECKSUM_SECONDS_USUAL: Final = 600


class ReplicaChecksum(TypedDict):
    """
    What one store's rows of a region sum up to, in hex; None if it didn't say, with the C{problem}, a sentence.
    """

    store: int
    checksum: str | None
    problem: str | None


class RegionChecksums(TypedDict):
    """
    The checksums of one region's replicas, all of the moment when its entry C{index} was applied.
    """

    region: int
    index: int
    replicas: list[ReplicaChecksum]


class RegionRange(TypedDict):
    """
    Which slots a region has: C{first} and C{last} of them, both included.
    """

    region: int
    first: int
    last: int


class IClusterControl(Interface):
    """
    What an operator may see of the stores of a cluster, and change.

    Any method may be called on any store. One that only the leader can serve fails with
    L{tinykv.errors.NotLeading} elsewhere; its caller passes the question on (L{tinykv.server.control}).
    """

    store_id: int = Attribute("The store that answers.")

    def leader() -> int | None:
        """
        @return: The store that leads the first region, None while none is known.
        """

    def leaders() -> dict[int, int | None]:
        """
        @return: The stores that lead, by region; None where none is known.
        """

    def members() -> list[MemberView]:
        """
        @return: All members, by store id, as this store sees them. One that has learned of its own removal isn't
            among them.
        """

    def status() -> list[RegionView]:
        """
        @return: All regions that this store has a replica of, by id, as it sees them.
        """

    def add_store(store_id: int, address: str, region: int | None = None) -> Deferred[None]:
        """
        Begin to add a store: it becomes a learner of a region, and a voter when it has caught up, without being
        asked again. For a store that is a member at that address already nothing is done.

        @param address: Where other stores reach it, C{host:port}.
        @param region: Which region; None for the only one. Likewise for the others.
        @return: fires when it's a learner durably. Fails with L{tinykv.errors.ControlRefused}, such as while another
            change is under way, or for a store that was removed before; with L{tinykv.errors.ControlUnknown}.
        """

    def remove_store(store_id: int, region: int | None = None) -> Deferred[None]:
        """
        Begin to remove a store from a region, up or not. One that leads hands leadership over first. A store that was
        removed from all regions never comes back; its host may join under a new id with an empty folder.

        @return: fires when the removal is decided durably. Fails with L{tinykv.errors.ControlRefused}, such as when
            those that would be left and can be reached are no majority; with L{tinykv.errors.ControlUnknown}.
        """

    def transfer_leader(store_id: int | None, region: int | None = None) -> Deferred[int]:
        """
        Hand leadership to a store, or with None to whichever other voter has most of the log.

        @return: fires with the store that leads now. Fails with L{tinykv.errors.ControlRefused}, such as when that
            store isn't a voter or doesn't take over in time; with L{tinykv.errors.ControlUnknown}.
        """

    def checksum(seconds: float, region: int | None = None) -> Deferred[list[RegionChecksums]]:
        """
        Have all replicas sum up their rows, all behind the same entry, while reads and writes go on.

        @param seconds: How long a store may take for it, from 1 to L{CHECKSUM_SECONDS_MAX}.
        @return: fires with what they said. Fails with L{tinykv.errors.ControlRefused}, such as while they're being
            compared already.
        """

    def split(region: int | None, slots: Sequence[int], parts: int) -> Deferred[list[RegionRange]]:
        """
        Split a region in parts.

        @param region: Which; None for the one in which the slots lie, or for the only one.
        @param slots: The first slot of each part but the first, in any order. None are given where the region is to be
            split in so many C{parts} of about as many keys; otherwise C{parts} doesn't matter.
        @return: fires with what the region has by then, and its parts, in order. Fails with
            L{tinykv.errors.ControlRefused}, such as for a slot that isn't in it; with
            L{tinykv.errors.ControlUnknown}.
        """

    def merge(region: int, target: int) -> Deferred[RegionRange]:
        """
        Merge a region into its neighbour.

        @return: fires with what the neighbour has then. Fails with L{tinykv.errors.ControlRefused}, such as where
            their replicas aren't on the same stores; with L{tinykv.errors.ControlUnknown}.
        """


class ISnapshotMaker(Interface):
    """
    Makes snapshots of regions, as files in the folder C{snapshots} of the data folder.
    """

    def make(region: int, *, start: bytes, end: bytes, labels: Sequence[bytes]) -> Deferred[Made]:
        """
        Make a snapshot of what data.db holds of a region: whoever wants it newer flushes first. One at a time of a
        region; an older file of it is deleted when this one is whole, though who reads that reads on.

        @param start: Where its range of keys begins; C{end} is behind its end, empty for none. By default all keys.
        @param labels: Keys in the family C{region} whose rows are wanted as of the same moment.
        @return: fires when the file is whole and durable; may be cancelled. Fails with a StorageError that says why,
            and then nothing is left of it: DiskFull; SnapshotAborted, if it takes too long or there's no such region;
            CorruptFile or DiskFailure, when the store is no longer fit to be relied on; WriterLost.
        """

    def drop(region: int) -> Deferred[None]:
        """
        Delete the file of a region: nobody needs it any more.
        """

    def close() -> Deferred[None]:
        """
        Give up what is being made.

        @return: fires when nobody has data.db open for it any more.
        """


class ISum(Interface):
    """
    A region's rows that are summed up.
    """

    awake: Deferred[None] = Attribute("Fires when it can begin without delay; never, if that fails.")
    answer: Deferred[tuple[str, int]] = Attribute(
        "Fires with a digest in hex, and the number of rows; may be cancelled. Fails with a StorageError that says why."
    )

    def begin(region: int, start: bytes, end: bytes, index: int, opened: Callable[[], None]) -> None:
        """
        Begin, now that data.db is as of an entry.

        @param start: Where the region's range of keys begins; C{end} is behind its end, empty for none.
        @param opened: Called when later flushes do no harm any more. It's C{SumAborted} if one came before.
        """


class ISummer(Interface):
    """
    Sums up what data.db holds of regions.
    """

    def start() -> ISum:
        """
        Make ready for a sum.

        @raise StorageError: That can't be done.
        """

    def close() -> Deferred[None]:
        """
        Give up what is under way.

        @return: fires when nobody has data.db open for it any more.
        """


class ISnapshotInstaller(Interface):
    """
    Replaces what data.db holds of a region by a snapshot.
    """

    def install(region: int, path: str) -> Deferred[bytes]:
        """
        Install a file, behind all flushes that were given before. Flushes that are given later may come first, and
        mustn't say anything about the region, its apply state included: it's stopped, and nothing of it is in memory.

        The file lies in the data folder and is taken over: it's deleted when it's installed or refused.

        @return: fires with the row of the apply state when all of it is durable. Fails with a StorageError: if
            it's BadSnapshot or DiskFull nothing was changed, and the store may go on; after any other the writer has
            ended, and the next start ends what was begun.
        """


class ClusterBeginning(TypedDict):
    """
    How a cluster begins, as its scheduler has it.

    @ivar cluster_id: The cluster's id.
    @ivar bootstrapped: Whether it has begun.
    @ivar missing_stores: How many more stores it waits for until then.
    @ivar regions: With what it began; nothing where that isn't known.
    """

    cluster_id: str
    bootstrapped: bool
    missing_stores: int
    regions: list[RegionInfo]


class HeardRegions(TypedDict):
    """
    What the scheduler says to the regions that it hears of.

    @ivar orders: What their leader is to do.
    @ivar refused: Why it didn't believe what it heard, by region.
    """

    orders: list[Order]
    refused: dict[int, str]


class PartIds(TypedDict):
    """
    The ids of a part that is to be split off a region.

    @ivar peers: Those of its peers, in the order of the region's own peers by id.
    """

    region: int
    peers: list[int]


class SplitChoices(NamedTuple):
    """
    When regions are split, as the scheduler says; 0 is for what a store's own configuration says.

    @ivar max_bytes: What a region may hold; C{part_bytes} what parts have that it's split in.
    @ivar threshold: What a region may do a second.
    """

    max_bytes: int = 0
    part_bytes: int = 0
    threshold: int = 0


class IScheduler(Interface):
    """
    The scheduler, as stores and gateways ask it.

    Each Deferred fails with a L{tinykv.errors.ScheduleProblem}, at the latest when as much time has gone by as was
    allowed. What is asked may reach it twice, which does no harm.
    """

    def term() -> Deferred[int]:
        """Ask in which term a member leads, which only rises; 0 while none is known to."""

    def beginning() -> Deferred[ClusterBeginning]:
        """Ask how the cluster begins."""

    def tell_beginning(cluster_id: str, regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Say how the cluster began, which it did without the scheduler. Refused if that knows it otherwise."""

    def register(
        store_id: int, *, address: str, client_address: str, folder_id: str, labels: dict[str, str]
    ) -> Deferred[StoreRecord]:
        """Say that a store is there. Refused if it was removed, or has another folder than before."""

    def stores() -> Deferred[dict[int, StoreRecord]]:
        """List the stores, by id."""

    def store_heartbeat(store_id: int, folder_id: str, stats: StoreStats) -> Deferred[None]:
        """Say how a store is. Refused if it isn't registered, or was removed."""

    def split_choices() -> Deferred[SplitChoices]:
        """Ask when regions are to be split."""

    def region_heartbeats(store_id: int, folder_id: str, regions: Sequence[RegionInfo]) -> Deferred[HeardRegions]:
        """Say how regions are that a store leads."""

    def ids(count: int) -> Deferred[range]:
        """Ask for ids that were never given."""

    def timestamps(count: int) -> Deferred[range]:
        """Ask for timestamps above all that were ever given."""

    def ask_split(region: int, *, version: int, conf_ver: int, count: int) -> Deferred[list[PartIds]]:
        """Ask for the ids of so many parts of a region, which has this epoch. Refused if it has a newer one."""

    def report_split(regions: Sequence[RegionInfo]) -> Deferred[None]:
        """Say how a region was split: what is left of it, and its parts, in their order. Refused if that is old."""

    def region_at(key: bytes) -> Deferred[RegionInfo | None]:
        """Ask for the region of a key; None where none is known."""

    def regions(start: bytes, end: bytes, limit: int) -> Deferred[list[RegionInfo]]:
        """List regions in the order of their keys, from the first that has any of a range; an empty end is none."""

    def close() -> Deferred[None]:
        """Give up what is under way, and end the connections."""
