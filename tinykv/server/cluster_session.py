"""
A client that takes this store for a node of a Redis Cluster, and the cluster's nodes as it's told of them.

The slot decides: keys of a request that lie in several are refused, and one whose slot another store leads is sent
there. What passes is run as for any other client, so what has changed on its way is looked after as for those; and what
is for a slot of which it isn't known who leads it waits here until it is, as for those, rather than be refused.

@see: U{https://redis.io/docs/reference/cluster-spec/}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from tinykv.keys import slot_of
from tinykv.redis.catalogue import keys_of
from tinykv.redis.command_facts import CommandFacts
from tinykv.redis.spreading import CROSS_SLOT, sorting_elsewhere
from tinykv.resp import replies
from tinykv.server.routes import WRITES, Route
from tinykv.server.session import Session
from tinykv.server.transactions import end_transaction

if TYPE_CHECKING:
    from tinykv.server.front import Front

#: What may be refused whose slot has this store, and has one key.
_LOOKED_AT: Final = frozenset(("move", "sort", "sort_ro"))
_NO_COPY: Final = replies.error(b"ERR Copying to another database is not allowed in cluster mode")


class ClusterSession(Session):
    """A connection to the port of a cluster's node."""

    cluster = True

    def __init__(self, front: Front, client_id: int) -> None:
        super().__init__(front, client_id)
        self.host = front.node_host

    @property
    def databases(self) -> int:
        """Count the databases that it may select."""
        return 1

    def _dispatch(self, request: list[bytes], raw: bytes | None) -> None:
        """Run one request, or say where it's to be sent."""
        front = self.front
        route = front.route_of(request[0])
        if route is not None and self._is_plainly_ours(route, request):
            super()._dispatch(request, raw)
            return
        if route is None or route.subcommands is not None and len(request) > 1:
            found = front.find_route(request)
            route = None if isinstance(found, bytes) else found
        # What is refused anyway is refused for that.
        if (
            route is not None
            and route.facts is not None
            and route.facts.takes(len(request))
            and (self.authenticated or route.before_auth)
        ):
            refusal = self._refusal(route, request)
            if refusal is not None:
                route.rejected += 1
                if route.name == "exec":
                    end_transaction(self)
                self._refuse(refusal)
                return
        super()._dispatch(request, raw)

    def _is_plainly_ours(self, route: Route, request: list[bytes]) -> bool:
        """Say quickly of most requests with one key that they're for this store; of others say no."""
        facts = route.facts
        if facts is None or facts.module or route.name in _LOOKED_AT:
            return False
        place = facts.single_key
        slots = self.front.slots
        return 0 < place < len(request) and slots is not None and slots.owner(slot_of(request[place])) == slots.store_id

    def _refusal(self, route: Route, request: list[bytes]) -> bytes | None:
        """Say why a request isn't for this store, or for no cluster; None if it's for it."""
        if route.name == "exec":
            queue = [(spec, arguments) for _, spec, arguments, _ in self.queue or () if spec is not None]
            slots = {slot for spec, arguments in queue for slot in _slots(spec.facts, arguments)}
            writes = any(spec.writes for spec, _ in queue)
        else:
            refusal = _never(route, request)
            if refusal is not None:
                return refusal
            slots = set(_slots(route.facts, request))
            writes = route.kind == WRITES
        if not slots:
            return None
        if len(slots) > 1:
            return CROSS_SLOT
        return self._elsewhere(slots.pop(), writes)

    def _elsewhere(self, slot: int, writes: bool) -> bytes | None:
        """Say who leads a slot, if it isn't this store; one that reads what is applied here may do that."""
        slots = self.front.slots
        assert slots is not None, "there's no such port without them"
        if self.stale and not writes:
            return None
        owner = slots.owner(slot)
        if owner is None or owner == slots.store_id:
            return None
        address = slots.address(owner)
        assert address is not None, "nobody is named whom clients don't find"
        host, port = address
        return replies.error(b"MOVED %d %b:%d" % (slot, host.encode(), port))


def _slots(facts: CommandFacts | None, request: list[bytes]) -> Iterable[int]:
    """Give the slots of a request's keys; raw keys lie behind all slots, and any store may be asked for them."""
    if facts is None or facts.module:
        return ()
    if facts.single_key:
        return (slot_of(request[facts.single_key]),)
    return (slot_of(request[place]) for place in keys_of(facts, request))


def _never(route: Route, request: list[bytes]) -> bytes | None:
    """Refuse what a node of a cluster never does, for it has one database."""
    name = route.name
    if name in ("move", "swapdb"):
        return replies.error(b"ERR %b is not allowed in cluster mode" % name.upper().encode())
    if name == "copy" and any(_other_databases(request)):
        return _NO_COPY
    return sorting_elsewhere(request) if name in ("sort", "sort_ro") else None


def _other_databases(request: list[bytes]) -> Iterator[bool]:
    for option, value in zip(request[3:], request[4:], strict=False):
        yield option.upper() == b"DB" and value.isdigit() and int(value) != 0
