"""
Replicas are compared by what their rows sum up to, all behind the same entry; whoever leads sees to that.

First each store is told, which has it ready; then the entry goes into the log; then each is asked now and then what it
has found. A store that can't say doesn't keep the others from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from tinykv.errors import ControlRefused
from tinykv.interfaces import IForwardAnswer, Outcome, RegionChecksums, ReplicaChecksum
from tinykv.redis.operations import INTERNAL, NOBODY
from tinykv.store.checksums import READY_SECONDS, Checksums, Sum, decode_result, encode_result
from tinykv.store.host import RegionHost

#: Asks a store over its link, and is answered within some seconds.
Ask = Callable[[int, bytes], Deferred[tuple[Outcome, bytes]]]

#: Make ready for a sum; its region, how long it may take, in whole seconds, and its name follow.
PREPARE: Final = b"S"
#: Tell the sum; its name follows.
TELL: Final = b"C"

#: How often is asked whether a store is done, in seconds.
LOOK_SECONDS: Final = 0.2
#: How long the entry may take, in seconds.
ENTRY_SECONDS: Final = 15.0
#: How long a store may be out of reach that was there before, in seconds.
AWAY_SECONDS: Final = 10.0
#: How much longer than a store itself whoever asks waits for it, in seconds: it knows why.
GRACE_SECONDS: Final = 3.0
#: Longest name of a sum that a store takes, in bytes; it's three numbers.
NAME_BYTES_MAX: Final = 64


class Comparisons:
    """
    The comparisons of a region's replicas, one at a time.

    @ivar mismatches: How often replicas were compared that weren't alike.
    """

    log = Logger()

    def __init__(
        self,
        *,
        store_id: int,
        host: RegionHost,
        checksums: Checksums,
        clock: IReactorTime,
        ask: Ask,
        check_leads: Callable[[], None],
    ) -> None:
        """
        @param check_leads: Raises L{tinykv.errors.NotLeading} unless this store leads.
        """
        self.mismatches = 0
        self._store_id = store_id
        self._host = host
        self._checksums = checksums
        self._clock = clock
        self._ask = ask
        self._check_leads = check_leads
        self._asked = 0
        #: When the one that is under way began, and when it ends at the latest.
        self._under_way: tuple[float, float] | None = None

    async def compare(self, seconds: float) -> RegionChecksums:
        """
        Compare the replicas.

        @param seconds: How long a store may take.
        @raise ControlRefused: It can't be done; NotLeading, if this store doesn't lead.
        """
        self._check_leads()
        now = self._clock.seconds()
        if self._under_way is not None:
            began, until = self._under_way
            raise ControlRefused(
                f"the stores are being compared already, since {now - began:.0f} s; ask again when that's done, "
                f"in {max(until - now, 0):.0f} s at the latest"
            )
        self._under_way = (now, now + READY_SECONDS + seconds + GRACE_SECONDS + AWAY_SECONDS)
        try:
            return await self._compare(seconds)
        finally:
            self._under_way = None

    async def _compare(self, seconds: float) -> RegionChecksums:
        host = self._host
        self._asked += 1
        name = b"%d-%d-%d" % (host.start_id, host.descriptor.region, self._asked)
        stores = sorted(host.descriptor.stores.values())
        asked = [Deferred.fromCoroutine(self._prepare(store, name, seconds)) for store in stores]
        problems = dict(zip(stores, [problem for _, problem in await DeferredList(asked)], strict=True))
        # Meanwhile anything may have happened.
        self._check_leads()
        if problems.get(self._store_id, "it isn't a member any more"):
            raise ControlRefused(f"this store can't sum up its rows: {problems.get(self._store_id)}")
        host.submit((INTERNAL, NOBODY, 0, 0, None, [b"checksum", name], None))
        await self._decided(name)
        until = self._clock.seconds() + seconds + GRACE_SECONDS
        ready = [store for store in stores if not problems[store]]
        found = await DeferredList([Deferred.fromCoroutine(self._sum_of(store, name, until)) for store in ready])
        return self._judged({**problems, **dict(zip(ready, [result for _, result in found], strict=True))})

    async def _prepare(self, store: int, name: bytes, seconds: float) -> str:
        """Have a store make ready; give why it can't, empty if it is."""
        if store == self._store_id:
            try:
                await self._checksums.prepare(self._host, name, seconds)
            except ControlRefused as problem:
                return str(problem)
            return ""
        outcome, reply = await self._ask(store, PREPARE + b"%d %d %b" % (self._host.descriptor.region, seconds, name))
        if outcome is Outcome.ANSWERED:
            return ""
        return _text(reply) if outcome is Outcome.REFUSED and reply else "it can't be reached, or doesn't answer"

    async def _decided(self, name: bytes) -> None:
        """
        Wait until the entry is applied here.

        @raise ControlRefused: It isn't in time. It may be later, and then it does no harm. Or this store has given up.
        """
        until = self._clock.seconds() + ENTRY_SECONDS
        while not self._checksums.applied(name):
            self._checksums.result(name)
            if self._clock.seconds() >= until:
                raise ControlRefused(
                    f"no majority has decided within {ENTRY_SECONDS:.0f} s where to compare, or this store is busy; "
                    "ask again"
                )
            await deferLater(self._clock, LOOK_SECONDS)

    async def _sum_of(self, store: int, name: bytes, until: float) -> Sum | str:
        """Learn what a store's replica sums up to, or why it doesn't say."""
        heard = self._clock.seconds()
        while True:
            try:
                answered, found = await self._look(store, name)
            except ControlRefused as problem:
                return str(problem)
            if found is not None:
                return found
            now = self._clock.seconds()
            if answered:
                heard = now
            elif now - heard >= AWAY_SECONDS:
                return "it can't be reached any more"
            if now >= until:
                return "it didn't say in time; ask again, with a longer timeout"
            await deferLater(self._clock, LOOK_SECONDS)

    async def _look(self, store: int, name: bytes) -> tuple[bool, Sum | None]:
        """
        Ask a store once; give whether it has answered, and its sum.

        @raise ControlRefused: It won't have any.
        """
        if store == self._store_id:
            return True, self._checksums.result(name)
        outcome, reply = await self._ask(store, TELL + name)
        if outcome is Outcome.REFUSED and reply:
            raise ControlRefused(_text(reply))
        if outcome is Outcome.ANSWERED:
            return True, decode_result(reply)
        return False, None

    def _judged(self, found: dict[int, Sum | str]) -> RegionChecksums:
        """Compare what the stores say."""
        own = found[self._store_id]
        if isinstance(own, str):
            raise ControlRefused(f"this store has no checksum: {own}")
        replicas: list[ReplicaChecksum] = []
        for store, told in found.items():
            problem = told if isinstance(told, str) else None
            if isinstance(told, Sum) and told.index != own.index:
                problem = f"it summed up behind entry {told.index}, not {own.index}; ask again"
            digest = told.digest if isinstance(told, Sum) and problem is None else None
            replicas.append(ReplicaChecksum(store=store, checksum=digest, problem=problem))
        region = self._host.descriptor.region
        if any(replica["checksum"] not in (None, own.digest) for replica in replicas):
            self.mismatches += 1
            self.log.critical(
                "the replicas of region {region} differ as of entry {index}: {sums}",
                region=region,
                index=own.index,
                sums={replica["store"]: replica["checksum"] for replica in replicas},
            )
        return RegionChecksums(region=region, index=own.index, replicas=replicas)

    # What other stores ask

    def asked(self, kind: bytes, rest: bytes, answer: IForwardAnswer) -> None:
        """Answer the store that leads; C{kind} is L{PREPARE} or L{TELL}."""
        if kind == TELL:
            try:
                answer.answer(encode_result(self._checksums.result(rest)))
            except ControlRefused as problem:
                answer.refuse(str(problem).encode())
            return
        seconds, _, name = rest.partition(b" ")
        if not seconds.isdigit() or len(seconds) > 9 or not 0 < len(name) <= NAME_BYTES_MAX:
            answer.refuse(b"this version doesn't know that question")
            return
        ready = self._checksums.prepare(self._host, name, int(seconds))
        ready.addCallbacks(
            lambda _: answer.answer(b""), lambda failure: answer.refuse(failure.getErrorMessage().encode())
        )


def _text(reply: bytes) -> str:
    return reply.decode("utf-8", "backslashreplace")
