"""The log: its two forms, its level, and how it reaches twistd."""

from __future__ import annotations

import io
import json

from twisted.application.service import Application, IServiceCollection
from twisted.logger import ILogObserver, Logger
from twisted.trial.unittest import SynchronousTestCase

from tinykv.config import StoreConfig
from tinykv.tap.logging import LoggedService, observer_for


class LineTests(SynchronousTestCase):
    """What is written of an event."""

    def written(self, form: str, level: str = "info") -> tuple[Logger, io.StringIO]:
        """Return a logger and the stream on which its events end up."""
        stream = io.StringIO()
        observer = observer_for(StoreConfig(log_format=form, log_level=level), stream)
        return Logger("tinykv.test", observer=observer), stream

    def test_text(self) -> None:
        log, stream = self.written("text")
        log.info("served {count} clients", count=3)
        self.assertRegex(
            stream.getvalue(),
            r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info tinykv\.test: served 3 clients\n$",
        )

    def test_json(self) -> None:
        log, stream = self.written("json")
        log.warn("slow {what}", what="fsync", seconds=1.5, raw=b"a\xff", where=("x", 1))
        record = json.loads(stream.getvalue())
        self.assertRegex(record.pop("time"), r"^\d{4}-.*Z$")
        self.assertEqual(
            record,
            {
                "level": "warn",
                "namespace": "tinykv.test",
                "message": "slow fsync",
                "what": "fsync",
                "seconds": 1.5,
                "raw": "a\\xff",
                "where": "('x', 1)",
            },
        )

    def test_one_event_is_one_line(self) -> None:
        for form in ("text", "json"):
            log, stream = self.written(form)
            log.info("client said {said}", said="x\r\n2026-01-01 forged")
            self.assertEqual(stream.getvalue().count("\n"), 1, form)
            self.assertNotIn("\r", stream.getvalue())

    def test_failures_bring_their_traceback(self) -> None:
        for form in ("text", "json"):
            log, stream = self.written(form)
            try:
                raise ValueError("out of paper")
            except ValueError:
                log.failure("printing {what} failed", what="it")
            text = stream.getvalue()
            self.assertIn("printing it failed", text)
            self.assertIn("Traceback", text)
            self.assertIn("ValueError: out of paper", text)
        self.assertIn("ValueError", json.loads(text)["traceback"])

    def test_level(self) -> None:
        log, stream = self.written("text", "warn")
        log.info("quiet")
        log.error("loud")
        self.assertNotIn("quiet", stream.getvalue())
        self.assertIn(" error tinykv.test: loud\n", stream.getvalue())

    def test_events_without_words_are_left_out(self) -> None:
        for form in ("text", "json"):
            log, stream = self.written(form)
            log.info(None, count=3)
            self.assertEqual(stream.getvalue(), "")


class ServiceTests(SynchronousTestCase):
    """The outermost service hands the observer to the application."""

    def test_the_application_gets_the_observer(self) -> None:
        application = Application("test")
        observer = observer_for(StoreConfig(), io.StringIO())
        service = LoggedService(observer)
        service.setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), observer)
        self.assertEqual(list(IServiceCollection(application)), [service])

    def test_an_observer_that_is_there_stays(self) -> None:
        application = Application("test")
        first, second = (observer_for(StoreConfig(), io.StringIO()) for _ in range(2))
        LoggedService(first).setServiceParent(application)
        LoggedService(second).setServiceParent(application)
        self.assertIs(application.getComponent(ILogObserver), first)
