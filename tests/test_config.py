"""The options of a store: what is read, what is refused, and that the file in etc/ tells the truth."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from textwrap import dedent

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
    is_clustered,
    load,
    options,
    override,
    own_address,
    parse,
    reference,
    render,
)
from tinykv.peering.settings import is_address


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
            ("cluster", "store_id = 0"),
            ("cluster", "store_id = 65536"),
            ("cluster", "peer_port = 0"),
            ("cluster", "peer_port = off"),
            ("cluster", "peer_advertise = host"),
            ("cluster", "join = perhaps"),
            ("replication", "election_ticks = 1"),
            ("replication", "read_mode = stale"),
            ("replication", "log_bytes_max = 16383kb"),
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
            ("[resp]\ncluster_port = 0\nbind = 127.0.0.1 ::1\n", "cluster_port"),
            ("[resp]\nport = 6380\n", "cluster_port"),
            ("[http]\nhttp_port = 6380\n", "http_port"),
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


class ScheduleTests(SynchronousTestCase):
    """What is said of the scheduler, and that it fits together."""

    secret = "[cluster]\ncluster_secret = " + "s" * 16 + "\n"

    def read(self, text: str, cluster: str = "") -> StoreConfig:
        """Read options of the section, with a secret."""
        return parse(f"{self.secret}{cluster}[schedule]\n{text}\n", "x.ini")

    def refused(self, text: str, cluster: str = "") -> ConfigError:
        """Read options that are refused."""
        return self.assertRaises(ConfigError, self.read, text, cluster)

    def test_nobody_is_asked(self) -> None:
        config = parse("", "x.ini")
        self.assertEqual((config.schedulers, config.labels, config.capacity), ((), (), 0))
        self.assertFalse(is_clustered(config))

    def test_all_of_it(self) -> None:
        config = self.read(
            "schedulers = a.example:2379, [::1]:2379\nlabels = zone=a, host=h/1\ncapacity = 1gb\n"
            "schedule_heartbeat = 500ms\nschedule_tls_ca = /ca\nschedule_tls_cert = /c\nschedule_tls_key = /k\n"
        )
        self.assertEqual(config.schedulers, ("a.example:2379", "[::1]:2379"))
        self.assertEqual(config.labels, (("host", "h/1"), ("zone", "a")))
        self.assertTrue(is_clustered(config))
        self.assertEqual(parse(render(config), "x.ini"), config)

    def test_lists_that_are_none(self) -> None:
        many = ", ".join(f"a:{port}" for port in range(1, config_values.SCHEDULERS_MAX + 2))
        for text in ("a", "a:0", "a:1,", "a:1 b:1", "a:1, A:1", many):
            self.assertIn("expected", self.refused(f"schedulers = {text}").problem)
        self.assertEqual(len(self.read(f"schedulers = {many.rpartition(',')[0]}").schedulers), 16)
        labels = ", ".join(f"l{number}=v" for number in range(config_values.LABELS_MAX))
        for text in ("a", "a=", "=a", "a=b=c", "a=b,", "a=b, a=c", "a=" + "b" * 129, labels + ", l=v"):
            self.assertIn("expected", self.refused(f"labels = {text}").problem)
        self.assertEqual(len(self.read(f"labels = {labels}").labels), config_values.LABELS_MAX)

    def test_what_goes_together(self) -> None:
        error = self.assertRaises(ConfigError, parse, "[schedule]\nschedulers = a:1\n", "x.ini")
        self.assertEqual(error.name, "cluster_secret")
        self.assertIn("schedulers", error.problem)
        token = "schedule_token = 0123456789abcdef\n"
        for text, cluster, name in (
            ("schedulers = a:1", "join = yes\n", "initial_stores"),
            ("schedulers = a:1", "peer_bind = 0.0.0.0\n", "peer_advertise"),
            ("schedulers = a:1", "peer_port = 6379\n", "peer_port"),
            (f"{token}schedule_token_file = f", "", "schedule_token_file"),
            ("schedule_tls_cert = c\nschedule_tls_key = k", "", "schedule_tls_ca"),
            ("schedule_tls_key = k\nschedule_tls_ca = c", "", "schedule_tls_cert"),
        ):
            self.assertEqual(self.refused(text, cluster).name, name, text)
        self.assertNotIn("0123456789abcdef", repr(self.read(token)))


class ClusterTests(SynchronousTestCase):
    """What is said of other stores, and that it fits together."""

    three = "[cluster]\ninitial_stores = 1@a:20160, 2@b:20160, 3@c:20160\n"
    secret = "cluster_secret = " + "s" * 16 + "\n"

    def problem(self, text: str) -> tuple[str | None, str]:
        """Return option and problem of a text that is refused."""
        error = self.assertRaises(ConfigError, parse, text, "x.ini")
        return error.name, error.problem

    def test_a_store_of_its_own(self) -> None:
        config = parse("", "x.ini")
        self.assertEqual((config.store_id, config.initial_stores, own_address(config)), (1, (), None))

    def test_three_stores(self) -> None:
        config = parse(self.three + self.secret + "store_id = 2\n", "x.ini")
        self.assertEqual(config.initial_stores, ((1, "a:20160"), (2, "b:20160"), (3, "c:20160")))
        self.assertEqual(own_address(config), "b:20160")
        self.assertEqual(parse(render(config), "x.ini"), config)

    def test_the_order_does_not_count(self) -> None:
        text = "[cluster]\ninitial_stores = 3@c:20160,\n  1@a:20160,\n  2@b:20160\n" + self.secret
        self.assertEqual(parse(text, "x.ini"), parse(self.three + self.secret, "x.ini"))

    def test_lists_that_are_none(self) -> None:
        for stores in (
            "1",
            "1@",
            "1@a",
            "@a:1",
            "0@a:1",
            "01@a:1",
            "65536@a:1",
            "1@a:0",
            "1@a:65536",
            "1@a:01",
            "1@a:1,",
            "1@a:1 2@b:1",
            "1@a b:1",
            "1@::1:1",
            "1@[127.0.0.1]:1",
            "1@[fe80::1%eth0]:1",
            "1@a:1, 1@b:1",
            "1@a:1, 2@A:1",
            ", ".join(f"{n}@a:{n}" for n in range(1, config_values.STORES_MAX + 2)),
        ):
            name, problem = self.problem(f"[cluster]\ninitial_stores = {stores}\n{self.secret}")
            self.assertEqual(name, "initial_stores", stores)
            self.assertIn("expected", problem)

    def test_addresses_that_are_right(self) -> None:
        for address in ("a:1", "[::1]:65535", "10.0.0.1:20160", "a-b.c_d:20160", "x" * 253 + ":1"):
            config = parse(f"[cluster]\npeer_advertise = {address}\n", "x.ini")
            self.assertEqual(config.peer_advertise, address)
            self.assertTrue(is_address(address), address)

    @given(st.text(st.sampled_from("a.0:[]-_%1f"), max_size=12))
    def test_what_is_taken_can_be_said_to_other_stores(self, text: str) -> None:
        try:
            address = config_values.PEER_ADDRESS.parse(text)
        except ValueError:
            return
        self.assertTrue(not address or is_address(address), address)

    def test_this_store_is_one_of_them(self) -> None:
        name, problem = self.problem(self.three + self.secret + "store_id = 4\n")
        self.assertEqual(name, "initial_stores")
        self.assertIn("doesn't name this store, 4", problem)

    def test_how_many_there_may_be(self) -> None:
        for count, fits in ((1, True), (2, False), (3, True), (4, False), (5, True), (7, True), (8, False), (9, False)):
            stores = ", ".join(f"{n}@a:{20159 + n}" for n in range(1, count + 1))
            text = f"[cluster]\ninitial_stores = {stores}\n{self.secret}"
            if fits:
                self.assertEqual(len(parse(text, "x.ini").initial_stores), count)
            else:
                self.assertIn(f"names {count} stores", self.problem(text)[1])

    def test_a_secret_is_needed(self) -> None:
        self.assertEqual(self.problem(self.three)[0], "cluster_secret")
        config = parse(self.three + "cluster_secret_file = s\n", "x.ini")
        self.assertEqual((config.cluster_secret, config.cluster_secret_file), ("", Path("s")))

    def test_not_two_secrets(self) -> None:
        name, _ = self.problem(self.three + self.secret + "cluster_secret_file = s\n")
        self.assertEqual(name, "cluster_secret_file")

    def test_a_secret_has_a_length(self) -> None:
        for length, fits in ((15, False), (16, True), (1024, True), (1025, False)):
            text = f"[cluster]\ncluster_secret = {'s' * length}\n"
            if fits:
                self.assertEqual(len(parse(text, "x.ini").cluster_secret), length)
            else:
                self.assertIn("16 to 1024 bytes", self.problem(text)[1])

    def test_the_secret_is_not_shown(self) -> None:
        config = parse("[cluster]\ncluster_secret = hidden-from-everybody\n", "x.ini")
        self.assertNotIn("hidden", repr(config))
        for bad in ("hidden", "hidden-from\n  everybody-else"):
            self.assertNotIn("hidden", self.problem(f"[cluster]\ncluster_secret = {bad}\n")[1])

    def test_joining(self) -> None:
        joins = "store_id = 4\njoin = yes\n"
        self.assertTrue(parse(self.three + self.secret + joins, "x.ini").join)
        two = "[cluster]\ninitial_stores = 1@a:1, 2@b:1\n"
        self.assertIn("names 2 stores", self.problem(two + self.secret + joins)[1])
        self.assertIn("which is this one", self.problem(self.three + self.secret + "join = yes\n")[1])
        self.assertEqual(self.problem("[cluster]\njoin = yes\n")[0], "initial_stores")
        everywhere = self.three + self.secret + joins + "peer_bind = 0.0.0.0\n"
        self.assertEqual(self.problem(everywhere)[0], "peer_advertise")
        self.assertEqual(parse(everywhere + "peer_advertise = d:1\n", "x.ini").peer_bind, "0.0.0.0")

    def test_several_regions(self) -> None:
        several = "initial_regions = 3\n"
        self.assertEqual(parse("[cluster]\n" + several, "x.ini").initial_regions, 3)
        self.assertEqual(parse(self.three + self.secret + several, "x.ini").initial_regions, 3)
        joins = self.three + self.secret + "store_id = 4\njoin = yes\n"
        self.assertEqual(parse(joins + several, "x.ini").initial_regions, 3)
        for count in (0, 1025):
            self.assertEqual(self.problem(f"[cluster]\ninitial_regions = {count}\n")[0], "initial_regions")
        self.assertEqual(parse("[cluster]\ninitial_regions = 1024\n", "x.ini").initial_regions, 1024)

    def test_the_port_is_the_one_that_others_are_told(self) -> None:
        text = self.three + self.secret + "peer_port = 20161\n"
        name, problem = self.problem(text)
        self.assertEqual(name, "peer_port")
        self.assertIn("peer_advertise = a:20160", problem)
        self.assertEqual(parse(text + "peer_advertise = a:20160\n", "x.ini").peer_port, 20161)

    def test_ports_are_not_taken_twice(self) -> None:
        stores = f"[cluster]\ninitial_stores = 1@a:6379\npeer_port = 6379\n{self.secret}"
        self.assertIn("is the same as port", self.problem(stores)[1])
        # Without other stores the port isn't opened.
        self.assertEqual(parse("[cluster]\npeer_port = 6379\n", "x.ini").peer_port, 6379)

    def test_certificate_key_and_ca_go_together(self) -> None:
        for named, missing in (
            ("peer_tls_cert = a\n", "peer_tls_key"),
            ("peer_tls_cert = a\npeer_tls_key = b\n", "peer_tls_ca"),
            ("peer_tls_ca = a\n", "peer_tls_cert"),
        ):
            self.assertEqual(self.problem(f"[cluster]\n{named}")[0], missing)

    def test_times(self) -> None:
        self.assertEqual(self.problem("[cluster]\nregion_split_size = 144mb\n")[0], "region_split_size")
        parse("[cluster]\nregion_split_size = 143mb\n", "x.ini")
        self.assertEqual(self.problem("[replication]\nheartbeat_ticks = 10\n")[0], "heartbeat_ticks")
        self.assertEqual(parse("[replication]\nheartbeat_ticks = 9\n", "x.ini").heartbeat_ticks, 9)
        self.assertEqual(self.problem("[replication]\nlease_drift_bound = 0.9\n")[0], "lease_drift_bound")
        self.assertEqual(parse("[replication]\nlease_drift_bound = 0.89\n", "x.ini").lease_drift_bound, 0.89)


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

    def test_the_example_of_three_stores_can_be_read(self) -> None:
        manual = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        (example,) = re.findall(r"(?:^(?: {4}.*)?\n)*^ {4}initial_stores.*\n(?:^(?: {4}.*)?\n)*", manual, re.MULTILINE)
        config = parse(dedent(example), "docs/operations.md")
        self.assertEqual((config.store_id, own_address(config)), (1, f"{config.peer_bind}:{config.peer_port}"))
        self.assertEqual(len(config.initial_stores), 3)

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
