"""
Who may ask, and how often.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Final

#: Addresses that are remembered; of more, the one that was silent longest is forgotten.
ADDRESSES_MAX: Final = 4096


class RateLimit:
    """
    So many questions a second from one address, and in a burst twice as many.
    """

    def __init__(self, rate: int, now: Callable[[], float]) -> None:
        """
        @param rate: Questions a second; 0 for no limit.
        @param now: Tells the seconds since whenever.
        """
        self._rate = rate
        self._now = now
        #: By address: what it has left, as of when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def takes(self, address: str) -> bool:
        """Count a question; tell whether it's one too many."""
        if not self._rate:
            return True
        now = self._now()
        burst = 2.0 * self._rate
        left, then = self._left.pop(address, (burst, now))
        left = min(burst, left + (now - then) * self._rate)
        taken = left >= 1
        self._left[address] = (left - 1 if taken else left, now)
        if len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)
        return taken


class Guard:
    """
    Looks at who asks.

    Without a token a web page in an operator's browser mustn't get at the port. What browsers send with C{Origin} is
    refused then, and what is sent to a host name that isn't ours: such a name may have been made to point here.
    """

    def __init__(self, token: bytes, hosts: Collection[str]) -> None:
        """
        @param token: What a question has to show; empty for nothing.
        @param hosts: Names of the members' hosts, in lower case, beside localhost and IP addresses.
        """
        self._token = token
        self._hosts = hosts

    @property
    def demands_token(self) -> bool:
        """Whether a token has to be shown."""
        return bool(self._token)

    def proves(self, authorization: bytes | None) -> bool:
        """Tell whether the header C{Authorization} shows the token, if one is demanded."""
        if not self._token:
            return True
        scheme, _, shown = (authorization or b"").partition(b" ")
        return hmac.compare_digest(shown.strip(), self._token) and scheme.lower() == b"bearer"

    def distrusts(self, origin: bytes | None, host: str) -> str | None:
        """Say why a question seems to come from a web page, or None."""
        if self._token:
            return None
        if origin is not None:
            return "web pages aren't answered here (there's an Origin)"
        host = host.lower().rstrip(".")
        if host != "localhost" and host not in self._hosts and not _is_number(host):
            return f"the host name {host[:256]!r} isn't known to be this scheduler's; use its IP address"
        return None


def _is_number(host: str) -> bool:
    """Tell whether a host is an IP address: no name leads to it, so none can mislead."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
