"""
A store among those that a scheduler knows: it registers, says how it is and how its regions are, and does what
it's told.

Nothing here is needed to serve clients: without the scheduler everything stays where it is. It's said once when the
scheduler can't be asked, and once when it can again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from tinykv.errors import ScheduleProblem, ScheduleRefused
from tinykv.interfaces import ClusterBeginning, HeardRegions, IScheduler, SplitChoices
from tinykv.placement.region_info import RegionInfo
from tinykv.placement.stores import Life, StoreRecord, StoreStats
from tinykv.raft.membership import Membership
from tinykv.region.descriptor import Descriptor
from tinykv.store.orders import Orders
from tinykv.store.region_reports import RegionReports

#: How often is looked whether something is to be told, in seconds.
LOOK_SECONDS: Final = 0.2
#: Regions of one message: with the longest keys they're fewer bytes than the scheduler takes.
BATCH_REGIONS: Final = 50
#: How long nothing is said of regions after the scheduler didn't take it, in seconds.
PAUSE_SECONDS: Final = 1.0
#: How often is looked who leads the scheduler, in seconds: a new leader knows neither stores nor regions, and decides
#: nothing before it has heard of them.
WATCH_SECONDS: Final = 1.0
#: How often a new store asks whether its cluster has begun, in seconds.
WAIT_SECONDS: Final = 0.5


class Addresses(Protocol):
    """Where stores are; see L{tinykv.peering.address_book.AddressBook}."""

    def has_room(self, store_id: int) -> bool:
        """Tell whether a store's address can be noted."""

    def address(self, store_id: int) -> str | None:
        """Give a store's address, or None when it isn't known."""

    def told(self, store_id: int, address: str) -> None:
        """Note where a store is, and keep it."""


class Registration:
    """
    What a store says of itself.

    @ivar client_address: Gives where clients reach it: the port may be known late.
    """

    def __init__(
        self,
        *,
        store_id: int,
        folder_id: str,
        address: str,
        client_address: Callable[[], str],
        labels: Mapping[str, str],
    ) -> None:
        self.store_id = store_id
        self.folder_id = folder_id
        self.address = address
        self.client_address = client_address
        self.labels = dict(labels)

    def with_scheduler(self, scheduler: IScheduler) -> Deferred[StoreRecord]:
        """Say that the store is there."""
        return scheduler.register(
            self.store_id,
            address=self.address,
            client_address=self.client_address(),
            folder_id=self.folder_id,
            labels=self.labels,
        )


def first_descriptor(region: RegionInfo) -> Descriptor:
    """Give the descriptor with which a region begins that the scheduler has made."""
    stores = {peer.peer: peer.store for peer in region.peers}
    return Descriptor(
        region.region,
        region.start,
        region.end,
        region.conf_ver,
        region.version,
        stores,
        Membership(tuple(sorted(stores))),
        max(stores) + 1,
    )


class Complaints:
    """Says what is wrong once, and once when it's over."""

    log = Logger()

    def __init__(self) -> None:
        self.problem: str | None = None

    def failed(self, problem: BaseException) -> None:
        """Learn that the scheduler didn't do something."""
        why = str(problem)
        refused = isinstance(problem, ScheduleRefused)
        # What fails for lack of an answer has other words each time.
        if self.problem is None or refused and why != self.problem:
            tell = self.log.error if refused else self.log.warn
            tell("{why}", why=why)
        self.problem = why

    def over(self) -> None:
        """Learn that it did something."""
        if self.problem is not None:
            self.problem = None
            self.log.info("the scheduler answers again")


class Scheduling:
    """
    The store's part.

    @ivar complaints: What is wrong, for people.
    """

    log = Logger()

    def __init__(
        self,
        *,
        scheduler: IScheduler,
        registration: Registration,
        cluster_id: str,
        beginning: Sequence[RegionInfo],
        clock: IReactorTime,
        interval: float,
        stats: Callable[[], StoreStats],
        reports: RegionReports,
        is_up: Callable[[int], bool],
        addresses: Addresses,
        chosen: Callable[[SplitChoices], None],
    ) -> None:
        """
        @param cluster_id: The cluster's id, which the scheduler has to know as well.
        @param beginning: With which regions it began; nothing where that isn't known.
        @param interval: How often it's said how the store is, in seconds.
        @param stats: Says how it is.
        @param chosen: Told when regions are to be split, each time that's heard.
        """
        self.complaints = Complaints()
        self.orders: Orders | None = None
        self._scheduler = scheduler
        self._registration = registration
        self._cluster_id = cluster_id
        self._beginning = beginning
        self._clock = clock
        self._interval = interval
        self._stats = stats
        self._reports = reports
        self._is_up = is_up
        self._addresses = addresses
        self._chosen = chosen
        self._records: dict[int, StoreRecord] = {}
        self._registered = False
        #: What is under way, so that nothing of a kind is asked twice at a time.
        self._telling = self._reporting = self._watching = False
        self._tell_at = self._report_at = self._watch_at = 0.0
        #: Of the scheduler's leader that was told last; 0 before any was.
        self._term = 0
        self._looking: IDelayedCall | None = None

    # What is known of other stores

    def address(self, store: int) -> str | None:
        """Say where other stores reach one: the scheduler's word, since who hasn't been met has none of its own."""
        record = self._records.get(store)
        return None if record is None or record.life is Life.TOMBSTONE else record.address

    def stays(self, store: int) -> bool:
        """Tell whether a store is to stay in the cluster, as far as is known."""
        record = self._records.get(store)
        return record is None or record.life is Life.UP

    # Begin and end

    def start(self) -> None:
        """Begin to tell."""
        self._look()

    def stop(self) -> Deferred[None]:
        """Tell no more; fires when all connections are closed."""
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        self._looking = None
        self._registered = False
        self._telling = self._reporting = self._watching = True
        closed: Deferred[None] = self._scheduler.close()
        return closed

    def _look(self) -> None:
        self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        if not self._telling and self._clock.seconds() >= self._tell_at:
            self._telling = True
            self._tell_at = self._clock.seconds() + self._interval
            Deferred.fromCoroutine(self._tell()).addErrback(self._failed).addCallback(self._told)
        if self._registered and not self._reporting and self._clock.seconds() >= self._report_at:
            self._reporting = True
            Deferred.fromCoroutine(self._report()).addErrback(self._failed).addCallback(self._reported)
        if self._registered and not self._watching and self._clock.seconds() >= self._watch_at:
            self._watching = True
            self._watch_at = self._clock.seconds() + WATCH_SECONDS
            Deferred.fromCoroutine(self._watch()).addErrback(self._failed).addCallback(self._watched)

    def _failed(self, failure: Failure) -> None:
        problem = failure.value
        if not isinstance(problem, ScheduleProblem):
            # A defect of ours mustn't end the telling for good.
            self.log.failure("telling the scheduler failed", failure)
            return
        if self._looking is not None:
            self.complaints.failed(problem)

    def _told(self, _: object) -> None:
        self._telling = self._looking is None

    def _reported(self, _: object) -> None:
        self._reporting = self._looking is None

    def _watched(self, _: object) -> None:
        self._watching = self._looking is None

    # What is told

    async def _tell(self) -> None:
        """Say how the store is, after saying that it's there where that isn't known."""
        scheduler, own = self._scheduler, self._registration
        if not self._registered:
            await scheduler.tell_beginning(self._cluster_id, self._beginning)
            await own.with_scheduler(scheduler)
            self.log.info("store {store} is registered with the scheduler", store=own.store_id)
        await self._hear_of_stores()
        try:
            await scheduler.store_heartbeat(own.store_id, own.folder_id, self._stats())
        except ScheduleRefused as problem:
            self._registered = False
            if problem.status == HTTPStatus.NOT_FOUND:
                self.log.info("the scheduler doesn't know store {store} any more", store=own.store_id)
                self._tell_at = 0.0
                return
            raise
        self._registered = True
        self._chosen(await scheduler.split_choices())
        self.complaints.over()

    async def _hear_of_stores(self) -> None:
        """Ask where the other stores are: who isn't met has moved, perhaps, or was never met."""
        self._records = await self._scheduler.stores()
        book = self._addresses
        for store, record in self._records.items():
            if store == self._registration.store_id or record.life is Life.TOMBSTONE or self._is_up(store):
                continue
            if book.has_room(store) and book.address(store) != record.address:
                book.told(store, record.address)

    async def _watch(self) -> None:
        """See whether another member leads, and tell it all at once."""
        term = await self._scheduler.term()
        if term <= self._term:
            return
        if self._term:
            self._tell_at = 0.0
            self._reports.forget_all()
        self._term = term

    async def _report(self) -> None:
        """Say how the regions are of which it's time to, and do what is ordered."""
        own = self._registration
        while regions := self._reports.due(BATCH_REGIONS):
            try:
                heard: HeardRegions = await self._scheduler.region_heartbeats(own.store_id, own.folder_id, regions)
            except ScheduleProblem:
                for region in regions:
                    self._reports.forget(region.region)
                self._report_at = self._clock.seconds() + PAUSE_SECONDS
                raise
            for number, why in heard["refused"].items():
                # What it knows better comes from who leads by now.
                self.log.debug("the scheduler knows better of region {region}: {why}", region=number, why=why)
            if self.orders is not None:
                self.orders.take(heard["orders"])
            if len(regions) < BATCH_REGIONS:
                break


async def wait_for_cluster(
    scheduler: IScheduler, registration: Registration, clock: IReactorTime
) -> tuple[ClusterBeginning, dict[int, StoreRecord]]:
    """
    Have a new store become part of a cluster: say that it's there, and wait until the cluster has begun.

    @return: How it began, and which stores there are. It goes on for as long as it takes; fails when it's cancelled.
    """
    log = Logger()
    complaints = Complaints()
    told = ""

    while True:
        try:
            await registration.with_scheduler(scheduler)
            beginning = await scheduler.beginning()
            complaints.over()
            if beginning["bootstrapped"] and beginning["regions"]:
                return beginning, await scheduler.stores()
        except ScheduleProblem as problem:
            complaints.failed(problem)
        else:
            why = "the cluster began, but nobody has said with which regions"
            if not beginning["bootstrapped"]:
                why = f"the cluster begins when {beginning['missing_stores']} more have come"
            if why != told:
                told = why
                log.info("store {store} waits: {why}", store=registration.store_id, why=why)
        await deferLater(clock, WAIT_SECONDS)
