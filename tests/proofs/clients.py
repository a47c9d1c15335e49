"""
Sessions of client libraries over every type, against the daemon: C{make proof-clients}.

C{tests.system.test_clients} is the short form; here none may be missing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from tests.proofs.report import Figures, Run
from tests.system.daemon import Daemon
from tests.system.sessions import SYNCHRONOUS, node_session, txredisapi_session

TEXT = """
Each client library went through a scripted session over every type on the daemon as it's started in production:
strings, hashes, lists, sets, sorted sets, expiry, scans, DUMP and RESTORE, binary keys, pipelines, transactions,
blocking pops, error replies. redis-py did so in RESP2 and in RESP3; ioredis is the client of Node.
"""


def on_a_daemon(session: Callable[[int], None]) -> None:
    """Run a session on a new daemon."""
    with tempfile.TemporaryDirectory() as folder, Daemon(Path(folder)) as daemon:
        session(daemon.port)
        daemon.stop()


def of_twisted(port: int) -> None:
    """Use txredisapi in a reactor of its own; this process ends with it."""

    def main(reactor: Any) -> Any:
        return ensureDeferred(txredisapi_session(port))

    try:
        react(main, [])
    except SystemExit as end:
        if end.code:
            raise AssertionError("the session of txredisapi failed") from end


def main() -> None:
    """Run all sessions; Twisted's is the last, since its reactor runs only once."""
    sessions = {**SYNCHRONOUS, "ioredis": node_session, "txredisapi": of_twisted}
    run = Run("clients", units=len(sessions), seconds=0)
    names = list(sessions)

    def unit(number: int) -> Figures:
        on_a_daemon(sessions[names[number]])
        return {f"sessions of {names[number]}": 1}

    run.work(unit)
    print(run.write("Client libraries", TEXT))


if __name__ == "__main__":
    main()
