"""`tinykv ctl schedule` over real sockets: members that lead, that don't, and what isn't one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.peering.certificates import Authority
from tests.system.processes import TINYKV, run
from tests.system.schedulers import Daemons
from tinykv.cli.ctl_http import UnknownOutcome
from tinykv.cli.ctl_schedule_http import PATIENCE, HttpScheduler, Proof
from tinykv.cli.problems import Problem

Answer = tuple[int, Any]


class FakeMembers(SynchronousTestCase):
    """Members that answer as told."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.time = 0.0
        self.ports: list[int] = []

    def serve(self, answer: Callable[[], Answer]) -> str:
        """Have a member answer; give its URL."""
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                asked.append((self.command, self.path, self.headers["Authorization"]))
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                code, said = answer()
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - the names that the server calls

            def log_message(self, *arguments: object) -> None:
                """Write nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def scheduler(self, *urls: str, **proof: Any) -> HttpScheduler:
        """Make a client."""

        def pause(seconds: float) -> None:
            self.time += seconds

        return HttpScheduler(urls, Proof(**proof), lambda: self.time, pause)

    def problem(self, *urls: str, method: str = "GET") -> Problem:
        """Ask what can't be answered."""
        self.time = 0.0
        problem: Problem = self.assertRaises(Problem, self.scheduler(*urls).ask, method, "/stores")
        self.assertLessEqual(self.time, PATIENCE)
        return problem

    def test_the_leader_is_asked(self) -> None:
        leader = self.serve(lambda: (200, {"stores": []}))
        other = self.serve(lambda: (307, {"error": "ask there", "leader": leader}))
        self.assertEqual(self.scheduler(other, token="t" * 16).ask("GET", "/stores"), {"stores": []})
        self.assertEqual(self.asked, [("GET", "/api/v1/stores", "Bearer " + "t" * 16)] * 2)

    def test_in_a_circle(self) -> None:
        urls: list[str] = []
        urls.append(self.serve(lambda: (307, {"error": "no", "leader": urls[0]})))
        self.assertIn("each other", str(self.problem(urls[0])))

    def test_never_without_tls_again(self) -> None:
        url = self.serve(lambda: (307, {"error": "no", "leader": "https://127.0.0.1:1"}))
        self.assertIn("isn't asked in the same way", str(self.problem(url)))

    def test_one_that_is_there_is_enough(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            gone = f"127.0.0.1:{listener.getsockname()[1]}"
        self.assertIn("can't be reached", str(self.problem(gone)))
        there = self.serve(lambda: (200, {"a": 1}))
        self.assertEqual(self.scheduler(gone, there).ask("GET", "/x"), {"a": 1})

    def test_an_election(self) -> None:
        answers: list[Answer] = [(503, {"error": "no member leads"})] * 3 + [(200, {"a": 1})]
        url = self.serve(lambda: answers.pop(0))
        self.assertEqual(self.scheduler(url).ask("POST", "/x", {}), {"a": 1})
        url = self.serve(lambda: (503, {"error": "no member leads"}))
        self.assertIn("no member leads", str(self.problem(url)))

    def test_refusals(self) -> None:
        for code, why, kind in (
            (409, "it can't be", Problem),
            (401, "--token-file", Problem),
            (504, "may have been done", UnknownOutcome),
        ):
            url = self.serve(lambda code=code: (code, {"error": "it can't be"}))  # type: ignore[misc]
            problem = self.problem(url)
            self.assertIs(type(problem), kind)
            self.assertIn(why, str(problem))

    def test_what_is_no_scheduler(self) -> None:
        for body in (b"<html>", b"[]"):
            url = self.serve(lambda body=body: (200, body))  # type: ignore[misc]
            self.assertIn("isn't the port of a scheduler", str(self.problem(url)))

    def test_urls_that_are_none(self) -> None:
        for url in ("ftp://a:1", "http://", "http://a:0", "http://a:1/x", "http://u@a:1", "http://a:1?x"):
            self.assertRaises(ValueError, self.scheduler, url)

    def test_files_that_are_none(self) -> None:
        self.assertIn("absent", str(self.assertRaises(Problem, self.scheduler, "a:1", authority=Path("absent"))))


class RealTests(SynchronousTestCase):
    """A real scheduler."""

    def test_over_tls_with_a_token(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        authority = Authority(folder, "authority")
        certificate, key = authority.issue("scheduler", "127.0.0.1")
        token = folder / "token"
        token.write_text("the token of the test\n")
        token.chmod(0o600)
        daemons = Daemons(folder, 1, tls_cert=str(certificate), tls_key=str(key), token_file=str(token))
        (member,) = daemons.members.values()
        member.start()
        self.addCleanup(member.kill)
        words = ["--token-file", str(token), "--ca", str(authority.path)]

        def ask(host: str, *words: str) -> CompletedProcess[str]:
            return run([*TINYKV, "ctl", "schedule", "--url", f"https://{host}:{member.port}", *words, "status"])

        done = ask("127.0.0.1", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("member 1 leads", done.stdout)
        # Another name than the certificate has, nobody who vouches for it, and no token.
        self.assertIn("see --ca", ask("localhost", *words).stderr)
        self.assertIn("see --ca", ask("127.0.0.1", *words[:2]).stderr)
        self.assertIn("--token-file", ask("127.0.0.1", *words[2:]).stderr)
