"""The scheduler's daemon is found, and its unit says what matters."""

from __future__ import annotations

from configparser import ConfigParser
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from tests.schedule.cluster import Cluster
from tests.sources import ROOT
from tinykv.schedule.config import ScheduleConfig


class PackagingTests(SynchronousTestCase):
    """What is installed."""

    def test_twistd_finds_the_plugin(self) -> None:
        makers: dict[str, Any] = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        self.assertEqual(makers["tinyschedule"].module, "tinykv.tap.schedule")

    def test_every_question_is_in_the_manual(self) -> None:
        text = (ROOT / "docs" / "tinyschedule.md").read_text("utf-8")
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
        named = {question.strip() for cell in cells for question in cell.split(",") if "/" in question}
        member = Cluster(self.mktemp(), members=1).leader()
        self.assertEqual(named, {f"{route.method} {route.path}" for route in member.routes.routes})

    def test_unit(self) -> None:
        unit = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
        unit.optionxform = str  # type: ignore[assignment, method-assign]  # documented: keeps names as written
        unit.read(ROOT / "systemd" / "tinyschedule@.service", encoding="utf-8")
        service = unit["Service"]
        self.assertEqual(
            service["ExecStart"],
            "/opt/tinykv/bin/twistd --nodaemon --pidfile= tinyschedule --config /etc/tinykv/%i.ini",
        )
        self.assertEqual((service["Restart"], service["KillMode"]), ("always", "mixed"))
        self.assertGreater(int(service["LimitNOFILE"]), ScheduleConfig().connections_max + 1000)
