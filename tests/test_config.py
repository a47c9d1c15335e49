"""The options of a store: what is read, what is refused, and that the file in etc/ tells the truth."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.sources import ROOT
from tinykv import config_values
from tinykv.config import (
    SECTIONS,
    ConfigError,
    StoreConfig,
    check_exposure,
    load,
    options,
    override,
    parse,
    reference,
    render,
)


class ReadingTests(SynchronousTestCase):
    """Text becomes values."""

    def test_nothing_means_the_defaults(self) -> None:
        self.assertEqual(parse("", "x.ini"), StoreConfig(data_dir=Path("data")))

    def test_every_kind_of_value(self) -> None:
        config = parse(
            """
            [store]
            log_format = JSON
            [resp]
            bind = 127.0.0.1 ::1
            port = 7000
            requirepass = a#b;c = %(d)s
            timeout = 2m
            advertise = [2001:db8::1]:7000
            protected_mode = no
            [tls]
            tls_port = off
            [storage]
            memory_budget = 1gb
            durability = os
            [limits]
            request_timeout = 250ms
            """.replace("            ", ""),
            "x.ini",
        )
        self.assertEqual(config.log_format, "json")
        self.assertEqual((config.bind, config.port), (("127.0.0.1", "::1"), 7000))
        self.assertEqual(config.requirepass, "a#b;c = %(d)s")
        self.assertEqual((config.timeout, config.request_timeout), (120.0, 0.25))
        self.assertEqual(config.advertise, ("2001:db8::1", 7000))
        self.assertEqual((config.protected_mode, config.tls_port), (False, None))
        self.assertEqual((config.memory_budget, config.durability), (1 << 30, "os"))

    def test_paths_start_at_the_file(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "a.ini"
        path.write_text("[store]\ndata_dir = there\n")
        self.assertEqual(load(path).data_dir, folder / "there")
        path.write_text("[store]\ndata_dir = /srv/there\n")
        self.assertEqual(load(path).data_dir, Path("/srv/there"))

    def test_override(self) -> None:
        config = override(parse("", "x.ini"), {"port": "0", "memory_budget": "64mb"})
        self.assertEqual((config.port, config.memory_budget), (0, 64 << 20))

    def test_the_password_stays_out_of_the_repr(self) -> None:
        self.assertNotIn("hidden", repr(parse("[resp]\nrequirepass = hidden\n", "x.ini")))

    def test_rendered_text_reads_back(self) -> None:
        values = {"port": "0", "bind": "::1", "requirepass": "x y", "timeout": "1.5s", "http_port": "off"}
        config = override(StoreConfig(data_dir=Path("/d")), values)
        self.assertEqual(parse(render(config), "x.ini"), config)
        self.assertEqual(render(StoreConfig()), "")


class RefusalTests(SynchronousTestCase):
    """What is wrong is told with the file, the section and the option."""

    def refused(self, text: str) -> ConfigError:
        """Return the error of a text."""
        return self.assertRaises(ConfigError, parse, text, "x.ini")

    def test_unknown_section(self) -> None:
        self.assertTrue(str(self.refused("[redis]\n")).startswith("x.ini: [redis]: no such section"))

    def test_unknown_option(self) -> None:
        error = self.refused("[resp]\nprot = 1\n")
        self.assertEqual((error.source, error.section, error.name), ("x.ini", "resp", "prot"))
        self.assertEqual(str(error), "x.ini: [resp] prot: no such option")

    def test_option_of_another_section(self) -> None:
        self.assertIn("belongs to section [resp]", str(self.refused("[store]\nport = 1\n")))

    def test_bad_values(self) -> None:
        for section, setting in (
            ("resp", "port = 65536"),
            ("resp", "port = -1"),
            ("resp", "port ="),
            ("resp", "bind = example.org"),
            ("resp", "bind ="),
            ("resp", "bind = ::1 ::1"),
            ("resp", "timeout = soon"),
            ("resp", "protected_mode = maybe"),
            ("resp", "advertise = host"),
            ("resp", "maxclients = 0"),
            ("store", "databases = 17"),
            ("store", "log_level = loud"),
            ("store", "cluster_name = a b"),
            ("store", "data_dir ="),
            ("storage", "memory_budget = 1023kb"),
            ("storage", "memory_budget = 12parsec"),
            ("storage", "durability = never"),
            ("limits", "inline_limit = 1.3b"),
        ):
            name, _, value = setting.partition(" =")
            error = self.refused(f"[{section}]\n{setting}\n")
            self.assertEqual((error.section, error.name), (section, name), setting)
            self.assertTrue(str(error).startswith(f"x.ini: [{section}] {name}: "), str(error))
            self.assertTrue(str(error).endswith(f", not {value.strip()!r}"), str(error))

    def test_bounds_are_within(self) -> None:
        self.assertEqual(parse("[storage]\nmemory_budget = 1mb\n", "x.ini").memory_budget, 1 << 20)
        self.assertEqual(parse("[store]\ndatabases = 16\n", "x.ini").databases, 16)
        self.assertEqual(parse("[resp]\nport = 65535\n", "x.ini").port, 65535)

    def test_a_bad_password_is_not_shown(self) -> None:
        error = self.refused("[resp]\nrequirepass = one\n two\n")
        self.assertNotIn("one", str(error))

    def test_not_ini(self) -> None:
        for text in ("port = 1\n", "[resp]\nport = 1\nport = 2\n", "[resp]\nwhat\n", "[resp]\n[resp]\n"):
            self.assertEqual(self.refused(text).source, "x.ini")

    def test_unreadable_files(self) -> None:
        path = Path(self.mktemp())
        self.assertIn("can't be read", str(self.assertRaises(ConfigError, load, path)))
        path.write_bytes(b"\xff")
        self.assertIn("not UTF-8", str(self.assertRaises(ConfigError, load, path)))

    def test_values_that_do_not_fit_together(self) -> None:
        for text, name in (
            ("[resp]\nport = 0\nbind = 127.0.0.1 ::1\n", "port"),
            ("[tls]\ntls_port = 7001\ntls_key = k\n", "tls_cert"),
            ("[tls]\ntls_port = 7001\ntls_cert = c\n", "tls_key"),
            ("[tls]\ntls_auth_clients = yes\n", "tls_ca"),
            ("[http]\nhttp_port = 6379\n", "http_port"),
            ("[tls]\ntls_port = 6379\ntls_cert = c\ntls_key = k\n", "tls_port"),
            ("[limits]\nquery_buffer_limit = 1mb\n", "query_buffer_limit"),
        ):
            self.assertEqual(self.refused(text).name, name, text)

    def test_unknown_override(self) -> None:
        error = self.assertRaises(ConfigError, override, StoreConfig(), {"prot": "1"})
        self.assertEqual(str(error), "command line: prot: no such option")


class ProtectedModeTests(SynchronousTestCase):
    """Data isn't open to other hosts by oversight."""

    def test_open_address_without_password(self) -> None:
        error = self.assertRaises(ConfigError, parse, "[resp]\nbind = 0.0.0.0\n", "x.ini")
        self.assertIn("requirepass", error.problem)
        self.assertIn("protected_mode = no", error.problem)

    def test_every_address_counts(self) -> None:
        self.assertRaises(ConfigError, parse, "[resp]\nbind = 127.0.0.1 192.0.2.1\n", "x.ini")

    def test_ways_out(self) -> None:
        for line in ("requirepass = secret", "protected_mode = no"):
            self.assertEqual(parse(f"[resp]\nbind = 0.0.0.0\n{line}\n", "x.ini").bind, ("0.0.0.0",))
        self.assertEqual(parse("[resp]\nbind = 127.0.0.2 ::1\n", "x.ini").bind, ("127.0.0.2", "::1"))

    def test_late_address(self) -> None:
        self.assertRaises(ConfigError, check_exposure, StoreConfig(), "192.0.2.1", "socket")
        self.assertIsNone(check_exposure(StoreConfig(), "::1", "socket"))


class DocumentationTests(SynchronousTestCase):
    """etc/tinykv.ini is the reference, and follows from the code."""

    text = (ROOT / "etc" / "tinykv.ini").read_text(encoding="utf-8")

    def test_it_is_up_to_date(self) -> None:
        self.assertEqual(self.text, reference(), "run `python -m tinykv.config > etc/tinykv.ini`")

    def test_every_option_is_there(self) -> None:
        for option in options():
            self.assertIn(f"\n#{option.name} = {option.default_text}".rstrip() + "\n", self.text)
            self.assertGreater(len(option.meaning), 30, option.name)
            self.assertIn(option.section, SECTIONS)

    def test_as_it_stands_it_means_the_defaults(self) -> None:
        self.assertEqual(parse(self.text, "etc/tinykv.ini"), StoreConfig())

    def test_with_every_default_said_aloud_it_means_the_same(self) -> None:
        names = [option.name for option in options()]
        aloud = "\n".join(
            line[1:] if line.startswith("#") and line[1:].split(" ")[0] in names else line
            for line in self.text.splitlines()
        )
        self.assertEqual(parse(aloud, "etc/tinykv.ini"), StoreConfig())

    def test_defaults_are_values_of_their_kind(self) -> None:
        for option in options():
            self.assertEqual(option.kind.parse(option.default_text), option.default, option.name)
        self.assertEqual([o.name for o in options()], [f.name for f in fields(StoreConfig)])


class ValueTests(SynchronousTestCase):
    """Kinds of values undo their own rendering."""

    @given(st.integers(0, 1 << 50))
    def test_sizes(self, size: int) -> None:
        self.assertEqual(config_values.parse_size(config_values.render_size(size)), size)

    @given(st.floats(0, 1e9, allow_nan=False).map(lambda seconds: round(seconds, 3)))
    def test_durations(self, seconds: float) -> None:
        self.assertEqual(config_values.parse_duration(config_values.render_duration(seconds)), seconds)

    def test_durations_have_no_exponent(self) -> None:
        for seconds, text in ((300.0, "300s"), (0.00001, "0.00001s"), (5e6, "5000000s"), (0.0, "0s")):
            self.assertEqual(config_values.render_duration(seconds), text)

    def test_size_suffixes(self) -> None:
        for text, size in (("1", 1), ("1k", 1000), ("1kb", 1024), ("1.5 MB", 3 << 19), ("2G", 2_000_000_000)):
            self.assertEqual(config_values.parse_size(text), size)

    def test_duration_suffixes(self) -> None:
        for text, seconds in (("1", 1.0), ("20ms", 0.02), ("2m", 120.0), ("1.5h", 5400.0), ("1d", 86400.0)):
            self.assertEqual(config_values.parse_duration(text), seconds)
