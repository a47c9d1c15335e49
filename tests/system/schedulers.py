"""
Real daemons of a scheduler for tests: started in folders of their own, killed, started again, asked over sockets.
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import SSLContext
from typing import Any

from tests.redis_server import free_port
from tests.system.processes import Process, wait_until

_TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
SECRET = "a secret of these members"
#: How long an answer may take, in seconds.
PATIENCE = 10.0


class Daemon:
    """
    One member.

    @ivar command: Starts it.
    @ivar port: Of its API, the same after each start.
    @ivar tls: How it's asked, if by TLS.
    @ivar headers: What every question has.
    """

    def __init__(self, folder: Path, number: int, ports: dict[int, tuple[int, int]], **options: str) -> None:
        """
        @param ports: Of the API and for members, by member.
        """
        self.number = number
        self.port, peer_port = ports[number]
        folder.mkdir()
        self._folder = folder
        chosen = {
            "data_dir": str(folder / "state"),
            "http_port": str(self.port),
            "ballast_bytes": "0",
            "member_id": str(number),
            "request_rate": "0",
            **options,
        }
        if len(ports) > 1:
            chosen["initial_members"] = ", ".join(f"{each}@127.0.0.1:{ports[each][1]}" for each in ports)
            chosen["cluster_secret"] = SECRET
            chosen["peer_port"] = str(peer_port)
        settings = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
        self.command = [*_TWISTD, "tinyschedule", *settings]
        self.process: Process | None = None
        self.tls: SSLContext | None = None
        self.headers: dict[str, str] = {}

    def start(self) -> None:
        """Start it, again perhaps."""
        self.process = Process(self.command, self._folder / "output.txt")

    @property
    def output(self) -> str:
        """What it printed."""
        assert self.process is not None
        return self.process.output

    def kill(self) -> None:
        """End it without giving it a chance."""
        if self.process is not None:
            self.process.destroy()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask it; a status of 0 is for a connection that fails."""
        if self.tls is None:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        else:
            connection = HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.tls)
        sent = None if body is None else json.dumps(body)
        headers = self.headers if body is None else {**self.headers, "Content-Type": "application/json"}
        try:
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text.decode()


class Daemons:
    """The members; a context manager that starts them, and ends them."""

    def __init__(self, folder: Path, count: int, **options: str) -> None:
        ports = {number: (free_port(), free_port()) for number in range(1, count + 1)}
        self.members = {number: Daemon(folder / str(number), number, ports, **options) for number in ports}

    def __enter__(self) -> Daemons:
        try:
            for member in self.members.values():
                member.start()
            self.leader()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        for member in self.members.values():
            member.kill()

    def leader(self) -> Daemon:
        """Wait for a member that leads."""
        found: list[Daemon] = []

        def leads() -> bool:
            for member in self.members.values():
                code, said = member.ask("GET", "/api/v1/health")
                if code == 200 and said["leads"]:
                    found.append(member)
            return bool(found)

        wait_until(leads, "a member that leads")
        return found[0]

    def settle(self) -> None:
        """Wait until all members know who leads."""

        def settled() -> bool:
            answers = [member.ask("GET", "/api/v1/members") for member in self.members.values()]
            leaders = {said["leader"] if code == 200 else None for code, said in answers}
            return len(leaders) == 1 and None not in leaders

        wait_until(settled, "all members to know who leads")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask whoever leads, until there's a good answer."""
        answers: list[Any] = []

        def answered() -> bool:
            for member in self.members.values():
                code, said = member.ask(method, f"/api/v1{path}", body)
                if code == 200:
                    answers.append(said)
                    return True
                assert code in (0, 307, 503, 504), (code, said)
            return False

        wait_until(answered, f"an answer to {method} {path}")
        return answers[0]
