"""
Where the other stores are, and where their clients find them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from twisted.internet.interfaces import IStreamClientEndpoint

#: How many other stores there may be: what peers can make this store remember and dial.
STORES_MAX: Final = 1024


class AddressBook:
    """
    The latest address of each store: as known at first, then as each store itself says when it connects.
    """

    def __init__(
        self,
        dial: Callable[[str], IStreamClientEndpoint],
        addresses: Mapping[int, str],
        keep: Callable[[int, str | None], None] = lambda store_id, address: None,
    ) -> None:
        """
        @param dial: Makes the endpoint for C{host:port}.
        @param addresses: What is known at first.
        @param keep: Keeps over a restart what a store has said; with None it's forgotten for good.
        """
        self._dial = dial
        self._keep = keep
        self._addresses = dict(addresses)
        self._serving: dict[int, str] = {}

    def has_room(self, store_id: int) -> bool:
        """Tell whether a store's address can be noted."""
        return store_id in self._addresses or len(self._addresses) < STORES_MAX

    def note(self, store_id: int, address: str) -> None:
        """Note where a store is now."""
        assert self.has_room(store_id)
        self._addresses[store_id] = address

    def told(self, store_id: int, address: str) -> None:
        """Note where a store itself says that it is; it has proven who it is."""
        if self._addresses.get(store_id) != address:
            self.note(store_id, address)
            self._keep(store_id, address)

    @property
    def known(self) -> Mapping[int, str]:
        """All addresses, by store id."""
        return self._addresses

    def address(self, store_id: int) -> str | None:
        """Give a store's address, or None when it isn't known."""
        return self._addresses.get(store_id)

    def stores(self) -> list[int]:
        """List the stores whose addresses are known."""
        return sorted(self._addresses)

    def serves(self, store_id: int, address: str | None) -> None:
        """Note where clients of the cluster find a store, as it has said itself; None while that isn't known."""
        if address is None:
            self._serving.pop(store_id, None)
        else:
            self._serving[store_id] = address

    def serving(self, store_id: int) -> str | None:
        """Give the address where clients of the cluster find a store, or None when it isn't known."""
        return self._serving.get(store_id)

    def endpoint(self, store_id: int) -> IStreamClientEndpoint | None:
        """Make the endpoint to dial a store by, or None when its address isn't known."""
        address = self._addresses.get(store_id)
        return None if address is None else self._dial(address)

    def forget(self, store_id: int) -> None:
        """Forget a store that is no longer in the cluster."""
        self._addresses.pop(store_id, None)
        self._serving.pop(store_id, None)
        self._keep(store_id, None)
