"""
A process that serves the control pages of a made-up cluster on a free port of 127.0.0.1, and prints the port.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, fail

from tests.server.controls import FakeControl
from tinykv.errors import ControlRefused
from tinykv.server.http_control import control_resource
from tinykv.server.http_status import status_resource, status_site


def nowhere(store: int, payload: bytes) -> Deferred[bytes]:
    """Pass nothing on."""
    return fail(ControlRefused("there is no link"))


def main() -> None:
    """Serve until a signal comes."""
    reactor: Any = global_reactor
    root = status_resource(dict, lambda: None, CollectorRegistry())
    root.putChild(b"control", control_resource(FakeControl(), nowhere))
    port = reactor.listenTCP(0, status_site(root, reactor), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
