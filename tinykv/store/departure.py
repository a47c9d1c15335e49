"""
The end of a store that was removed: it goes on answering until nobody can need it any more.

A change of the members is decided before all of them know that it is. Whoever doesn't may need the vote of a store that
the change has removed, or its word that the change is decided; were it gone by then, those who are left could stand
still for ever: one has the longer log and waits for votes that nobody gives any more, and the others may not be elected
before it. So a removed store lingers, as a peer that answers and never campaigns, and asks the others. When a majority
of the voters that there are without it has applied its removal, it may go: they know that durably
(L{tinykv.raft.group}), and of each majority that could ever be asked for votes, or ask for them, one has the news.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from tinykv.errors import Damaged
from tinykv.interfaces import Outcome
from tinykv.raft.quorum import present
from tinykv.region.descriptor import Descriptor

#: How often those who haven't confirmed it are asked, in seconds.
ASK_SECONDS: Final = 1.0
#: After how long it's said for the first time that a majority doesn't answer, and how often from then on, in seconds.
FIRST_WORD_SECONDS: Final = 10.0
WORD_SECONDS: Final = 60.0


class Departure:
    """
    What a store does from when it learns that it was removed.

    @ivar begun: Whether it has learned that.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store_id: int,
        region: int,
        gone: Callable[[Descriptor], bool],
        ends: Callable[[], bool],
        clock: IReactorTime,
        ask: Callable[[int], Deferred[tuple[Outcome, bytes]]],
        met: Callable[[Descriptor], None],
        over: Callable[[], None],
    ) -> None:
        """
        @param gone: Tells whether a descriptor of the region is as of after the removal.
        @param ends: Tells whether the store ends with it; if not, only its replica of the region does.
        @param ask: Asks a store for its descriptor, as of what it has applied.
        @param met: Called with a newer descriptor than was known: it says where the stores are.
        @param over: Called when the store may go.
        """
        self.begun = False
        self._store_id = store_id
        self._region = region
        self._gone = gone
        self._ends = ends
        self._clock = clock
        self._ask_store = ask
        self._met = met
        self._over = over
        #: As of the latest change that is known here, which may be before the removal.
        self._descriptor: Descriptor | None = None
        self._told_by: set[int] = set()
        self._confirmed: set[int] = set()
        self._asked: set[int] = set()
        self._asking: IDelayedCall | None = None
        self._word_at = 0.0
        self._ended = False
        #: Whether it may go: a majority has confirmed it.
        self.over = False

    def begin(self, descriptor: Descriptor, teller: int | None = None) -> None:
        """
        Learn that this store was removed, or that there's more to know of it.

        @param descriptor: The region as of what is applied here.
        @param teller: The store that said so, where it isn't applied here.
        """
        if teller is not None:
            self._told_by.add(teller)
        self._learn(descriptor)
        if self.begun:
            return
        self.begun = True
        self._word_at = self._clock.seconds() + FIRST_WORD_SECONDS
        # In a turn of its own: an entry may be in the midst of being applied.
        self._asking = self._clock.callLater(0, self._ask)

    def stop(self) -> None:
        """Ask no more."""
        self._ended = True
        if self._asking is not None and self._asking.active():
            self._asking.cancel()

    @property
    def waits(self) -> str:
        """Say what is waited for."""
        return f"it waits for stores {', '.join(map(str, self._left())) or 'that it knows nothing of'}"

    @property
    def _knows(self) -> bool:
        """Whether it's known who the members are without this store."""
        return self._descriptor is not None and self._gone(self._descriptor)

    def _left(self) -> list[int]:
        """List the stores that could confirm it and haven't."""
        descriptor = self._descriptor
        assert descriptor is not None, "it has begun"
        stores = descriptor.stores
        if self._knows:
            voters = {*descriptor.membership.voters, *descriptor.membership.outgoing}
            found = {stores[voter] for voter in voters}
        else:
            found = {*stores.values(), *self._told_by}
        return sorted(found - self._confirmed - {self._store_id})

    def _ask(self) -> None:
        """Ask those who haven't confirmed it, unless they're being asked."""
        now = self._clock.seconds()
        if now >= self._word_at:
            self._word_at = now + WORD_SECONDS
            what = "region {region}: the replica here was removed, and lingers: {waits}"
            if self._ends():
                what = "store {store} was removed from the cluster, and lingers: {waits}. If they're gone for good, "
                what += "stop it"
            self.log.warn(what, store=self._store_id, region=self._region, waits=self.waits)
        self._asking = self._clock.callLater(ASK_SECONDS, self._ask)
        for store in self._left():
            if store not in self._asked:
                self._asked.add(store)
                self._ask_store(store).addCallback(self._answered, store)

    def _answered(self, answer: tuple[Outcome, bytes], store: int) -> None:
        """Take the answer of a store: its descriptor, or nothing."""
        self._asked.discard(store)
        outcome, row = answer
        descriptor = self._descriptor
        if self._ended or outcome is not Outcome.ANSWERED or descriptor is None:
            return
        try:
            theirs = Descriptor.decode(descriptor.region, row)
        except Damaged as problem:
            self.log.warn("store {store} says nothing that makes sense: {problem}", store=store, problem=str(problem))
            return
        if self._gone(theirs):
            self._confirmed.add(store)
        self._learn(theirs)
        self._look()

    def _learn(self, descriptor: Descriptor) -> None:
        if self._descriptor is None or descriptor.conf_ver > self._descriptor.conf_ver:
            self._descriptor = descriptor
            self._met(descriptor)

    def _look(self) -> None:
        """See whether a majority has confirmed it."""
        descriptor = self._descriptor
        assert descriptor is not None, "it has begun"
        confirmed = {peer for peer, store in descriptor.stores.items() if store in self._confirmed}
        if self._knows and present(descriptor.membership, confirmed):
            self.stop()
            self.over = True
            if self._ends():
                self.log.critical(
                    "store {store} was removed from the cluster, and stops. Its host may join again, with an empty "
                    "folder and a new store_id",
                    store=self._store_id,
                )
            self._over()
