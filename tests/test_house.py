"""Documents, units and packaging agree with the code and with each other."""

from __future__ import annotations

import re
import runpy
from configparser import ConfigParser
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from tests.sources import ROOT
from tinykv import __version__
from tinykv.config import StoreConfig


def text_of(path: str) -> str:
    """Read a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def documents() -> list[Path]:
    """List the pages that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def targets() -> set[str]:
    """List the targets of the Makefile; `proof-%` stands for all proofs."""
    return set(re.findall(r"^([a-z%-]+):", text_of("Makefile"), re.MULTILINE))


class DocumentTests(SynchronousTestCase):
    """What the pages name exists."""

    def test_make_targets(self) -> None:
        missing = []
        for path in documents():
            text = path.read_text(encoding="utf-8")
            for target in re.findall(r"(?:^ {4}|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
                name = "proof-%" if target.startswith("proof-") else target
                if name not in targets():
                    missing.append(f"{path.relative_to(ROOT)}: make {target}")
        self.assertEqual(missing, [])

    def test_the_two_commands(self) -> None:
        readme = text_of("README.md")
        self.assertIn("\n    make run\n", readme)
        self.assertIn("\n    make test\n", readme)

    def test_proofs(self) -> None:
        missing = []
        for path in documents():
            for name in re.findall(r"make proof-([a-z][a-z0-9_-]*)", path.read_text(encoding="utf-8")):
                if not (ROOT / "tests" / "proofs" / f"{name}.py").exists():
                    missing.append(f"{path.relative_to(ROOT)}: make proof-{name}")
        self.assertEqual(missing, [])

    def test_links(self) -> None:
        missing = []
        for path in documents():
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
                if "://" not in target and not (path.parent / target).exists():
                    missing.append(f"{path.relative_to(ROOT)}: {target}")
        self.assertEqual(missing, [])

    def test_the_promise_has_its_four_points(self) -> None:
        promise = text_of("README.md").partition("## The promise")[2].partition("**What holds today")[0]
        self.assertEqual(re.findall(r"^(\d)\. ", promise, re.MULTILINE), ["1", "2", "3", "4"])

    def test_news_fragments_are_named_right(self) -> None:
        allowed = re.compile(r"\+?[a-z0-9-]+\.(feature|bugfix|change|misc)\.md")
        names = [path.name for path in (ROOT / "newsfragments").iterdir() if path.name != "README.md"]
        self.assertEqual([name for name in names if not allowed.fullmatch(name)], [])


class PackagingTests(SynchronousTestCase):
    """What is installed, and under which names."""

    def setup(self) -> ConfigParser:
        """Read setup.cfg."""
        config = ConfigParser()
        config.read(ROOT / "setup.cfg", encoding="utf-8")
        return config

    def test_version(self) -> None:
        self.assertEqual(self.setup()["metadata"]["version"], "attr: tinykv.__version__")
        self.assertRegex(__version__, r"^\d+\.\d+\.\d+$")

    def test_every_dependency_has_a_least_version(self) -> None:
        config = self.setup()
        lines = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
        for line in lines.strip().splitlines():
            self.assertRegex(line, r"^[A-Za-z0-9_.-]+(\[[a-z]+\])?>=\d")

    def test_twistd_finds_the_plugin(self) -> None:
        makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        self.assertEqual(makers["tinykv"].module, "tinykv.tap.store")

    def test_the_plugin_file_only_names(self) -> None:
        text = text_of("twisted/plugins/tinykv_plugins.py")
        imports = re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE)
        self.assertEqual(imports, ["__future__", "twisted.application.service"])


class UnitTests(SynchronousTestCase):
    """The systemd units parse, and say what matters."""

    def unit(self, name: str) -> ConfigParser:
        """Read a unit; of an option that is given twice the last value counts here."""
        config = ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
        config.optionxform = str  # type: ignore[assignment, method-assign]  # documented: keeps names as written
        config.read(ROOT / "systemd" / name, encoding="utf-8")
        return config

    def test_service(self) -> None:
        service = self.unit("tinykv@.service")["Service"]
        self.assertEqual(
            service["ExecStart"],
            "/opt/tinykv/bin/twistd --nodaemon --pidfile= tinykv --config /etc/tinykv/%i.ini",
        )
        self.assertEqual(service["User"], "tinykv")
        self.assertEqual(service["Restart"], "always")
        self.assertEqual(service["KillMode"], "mixed")
        self.assertEqual(service["NoNewPrivileges"], "yes")
        self.assertEqual(service["ProtectSystem"], "strict")
        self.assertIn("tinykv/%i", service["StateDirectory"])
        self.assertIn("HUP", service["ExecReload"])

    def test_files_suffice_for_the_clients(self) -> None:
        limit = int(self.unit("tinykv@.service")["Service"]["LimitNOFILE"])
        self.assertGreater(limit, StoreConfig().maxclients + 1000)

    def test_socket(self) -> None:
        socket = self.unit("tinykv@.socket")["Socket"]
        self.assertEqual(socket["FileDescriptorName"], "resp")
        self.assertEqual(socket["ListenStream"], "127.0.0.1:6379")


class SummaryTests(SynchronousTestCase):
    """The last line of .ci/run counts what trial reported."""

    def line(self, report: str, status: int = 0, failed_checks: int = 0) -> str:
        """Return the line for a report."""
        module = runpy.run_path(str(ROOT / ".ci" / "summary.py"))
        return str(module["line"](*module["count"](report, status, failed_checks)))

    def test_all_passed(self) -> None:
        report = "Running 2 tests.\n\n----\nRan 2 tests in 0.1s\n\nPASSED (successes=2)\n"
        self.assertEqual(self.line(report), "2 passed, 0 failed")

    def test_everything_at_once(self) -> None:
        report = (
            "Ran 9 tests in 0.1s\n\nFAILED (skips=1, expectedFailures=1, failures=2, errors=1,"
            " unexpectedSuccesses=1, successes=3)\n"
        )
        self.assertEqual(self.line(report, 1), "4 passed, 4 failed, 1 skipped")

    def test_the_last_summary_counts(self) -> None:
        report = "Ran 1 tests in 0s\n\nPASSED (successes=1)\nRan 3 tests in 0s\n\nPASSED (successes=3)\n"
        self.assertEqual(self.line(report), "3 passed, 0 failed")

    def test_no_summary_is_a_failure(self) -> None:
        self.assertEqual(self.line("make: *** [test] Error 2\n", 2), "0 passed, 1 failed")
        self.assertEqual(self.line("Ran 0 tests in 0.0s\n\nPASSED\n"), "0 passed, 1 failed")

    def test_a_bad_end_without_a_failed_test(self) -> None:
        report = "Ran 2 tests in 0.1s\n\nPASSED (successes=2)\n"
        self.assertEqual(self.line(report, 124), "2 passed, 1 failed")

    def test_failed_checks_count(self) -> None:
        report = "Ran 2 tests in 0.1s\n\nPASSED (successes=2)\n"
        self.assertEqual(self.line(report, 0, 2), "2 passed, 2 failed")
