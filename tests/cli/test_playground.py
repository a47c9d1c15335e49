"""
What `tinykv playground` refuses before it starts anything, and how it reads logs.
"""

from __future__ import annotations

import json
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from random import Random

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from tests.redis_server import free_port
from tinykv.cli.main import tinykv
from tinykv.cli.playground import write_record
from tinykv.cli.playground_cluster import CLUSTER_PORTS, PEER_PORTS, Ports, choose_count, choose_regions, keep, plan
from tinykv.cli.playground_gateway import LocalGateway, plan_gateway
from tinykv.cli.playground_process import TAIL_LINES, last_error, last_words, tail
from tinykv.cli.playground_schedulers import (
    LocalScheduler,
    choose_schedulers,
    keep_schedulers,
    plan_schedulers,
    read_members,
    stores_known,
)
from tinykv.cli.playground_stores import LocalStore, what_is_left
from tinykv.cli.problems import Problem
from tinykv.cli.screen import quoted
from tinykv.config import StoreConfig, checked, load, own_address
from tinykv.gateway.config import checked as checked_gateway
from tinykv.schedule.config import TABLE, ScheduleConfig
from tinykv.tap.peers import read_secret


class RefusalTests(SynchronousTestCase):
    """One line, exit status 1."""

    def refused(self, *arguments: str, folder: str | None = None) -> str:
        """Start a playground in vain."""
        result = CliRunner().invoke(tinykv, ["playground", "--dir", folder or self.mktemp(), *arguments])
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertTrue(result.output.startswith("tinykv: "), result.output)
        self.assertEqual(result.output.count("\n"), 1, result.output)
        return result.output

    def test_numbers_of_stores(self) -> None:
        for number in ("0", "2", "4", "7", "many"):
            result = CliRunner().invoke(tinykv, ["playground", "--dir", self.mktemp(), "--stores", number])
            self.assertEqual(result.exit_code, 2)
            self.assertIn("is not one of '1', '3', '5'", result.output)

    def test_a_folder_with_another_number_of_stores(self) -> None:
        folder = Path(self.mktemp())
        (folder / "store-1").mkdir(parents=True)
        said = self.refused("--stores", "3", folder=str(folder))
        self.assertIn("holds one store and stays so: start it with --stores 1 (make run STORES=1)", said)

    def test_ports_past_the_last(self) -> None:
        said = self.refused("--port", "65534", "--stores", "3")
        self.assertIn("--port: there is no port 65536", said)

    def test_a_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.refused("--port", str(port))
            self.assertIn(f"127.0.0.1:{port} can't be used (Address already in use", said)
            said = self.refused("--port", "0", "--http-port", str(port))
            self.assertIn("choose another with --http-port", said)

    def test_the_same_port_twice(self) -> None:
        port = str(free_port())
        self.assertIn("is to be used twice", self.refused("--port", port, "--http-port", port))

    def test_a_file_in_the_way(self) -> None:
        file = self.mktemp()
        Path(file).write_text("")
        self.assertIn("File exists", self.refused("--port", "0", folder=file))
        self.assertIn("Not a directory", self.refused("--port", "0", folder=f"{file}/data"))

    def test_a_folder_in_the_way_of_a_file(self) -> None:
        folder = Path(self.mktemp())
        (folder / "store-1.ini").mkdir(parents=True)
        self.assertIn("store-1.ini: Is a directory", self.refused("--port", "0", folder=str(folder)))


    def test_a_gateway_before_one_store(self) -> None:
        said = self.refused("--port", "0", "--stores", "1", "--gateway")
        self.assertIn("one store on its own has no use for a gateway", said)


class CountTests(SynchronousTestCase):
    """How many stores are started."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, text: str) -> None:
        """Write cluster.json."""
        (self.folder / "cluster.json").write_text(text)

    def test_a_new_folder(self) -> None:
        self.assertEqual(choose_count(self.folder, None, 3), (3, None))
        self.assertEqual(choose_count(self.folder, 5, 3), (5, None))
        self.assertEqual(choose_count(self.folder / "none", 1, 3), (1, None))

    def test_a_folder_with_one_store(self) -> None:
        (self.folder / "store-1").mkdir()
        self.assertEqual(choose_count(self.folder, None, 1), (1, None))
        self.assertEqual(choose_count(self.folder, 1, 3), (1, None))
        count, told = choose_count(self.folder, None, 3)
        self.assertEqual(count, 1)
        for part in (
            "holds one store, as it was begun, so that's what is started",
            "3 that hold the same data need another folder and other ports",
            "make run DIR= PORT=",
            "tinykv import",
        ):
            self.assertIn(part, told or "")
        problem = self.assertRaises(Problem, choose_count, self.folder, 3, 3)
        self.assertIn("tinykv import", str(problem))

    def test_a_folder_with_three_stores(self) -> None:
        keep(self.folder, plan(self.folder, 3, 0, 0))
        self.assertEqual(choose_count(self.folder, None, 3), (3, None))
        self.assertEqual(choose_count(self.folder, None, 1)[0], 3)
        for asked in (1, 5):
            problem = self.assertRaises(Problem, choose_count, self.folder, asked, 3)
            self.assertIn("holds 3 stores and stays so: start it with --stores 3", str(problem))

    def test_regions(self) -> None:
        self.assertEqual(choose_regions(self.folder, None, 3), 1)
        self.assertEqual(choose_regions(self.folder, 6, 3), 6)
        self.assertEqual(choose_regions(self.folder, 1, 1), 1)
        self.assertIn("--stores 3", str(self.assertRaises(Problem, choose_regions, self.folder, 6, 1)))
        keep(self.folder, [replace(config, initial_regions=6) for config in plan(self.folder, 3, 0, 0)])
        self.assertEqual(choose_regions(self.folder, None, 3), 6)
        self.assertEqual(choose_regions(self.folder, 6, 3), 6)
        self.assertIn("say --regions 6", str(self.assertRaises(Problem, choose_regions, self.folder, 1, 3)))

    def test_a_folder_without_its_record(self) -> None:
        for store in ("store-1", "store-2"):
            (self.folder / store).mkdir()
        self.assertIn("is missing", str(self.assertRaises(Problem, choose_count, self.folder, 3, 3)))

    def test_a_record_that_is_none(self) -> None:
        three = [{"id": number, "peer": 1, "http": 2} for number in (1, 2, 3)]
        for text in (
            "",
            "[]",
            "{",
            "{}",
            json.dumps({"format": 2, "stores": three}),
            json.dumps({"stores": three}),
            json.dumps({"format": 1, "stores": three[:2]}),
            json.dumps({"format": 1, "stores": three[:1]}),
            json.dumps({"format": 1, "stores": three[::-1]}),
            json.dumps({"format": 1, "stores": [{"id": 1}]}),
            json.dumps({"format": 1, "stores": 3}),
        ):
            self.write(text)
            problem = self.assertRaises(Problem, choose_count, self.folder, None, 1)
            self.assertIn("cluster.json isn't what", str(problem))
        (self.folder / "cluster.json").write_bytes(b"\xff")
        self.assertIn("can't be read", str(self.assertRaises(Problem, choose_count, self.folder, None, 1)))


class GatewayTests(SynchronousTestCase):
    """The options of a gateway."""

    def test_plan(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        configs = plan(folder, 3, 0, 0)
        keep(folder, configs)
        ports = Ports()
        config = checked_gateway(plan_gateway(folder, configs, ["127.0.0.1:2379"], ports), "a plan")
        self.assertEqual((config.stores, config.schedulers), (configs[0].initial_stores, ("127.0.0.1:2379",)))
        self.assertEqual(read_secret(config), read_secret(configs[0]))
        self.assertEqual(plan_gateway(folder, configs, [], ports).schedulers, ())
        gateway = LocalGateway(folder, config)
        self.assertFalse(gateway.answers())
        self.assertEqual(gateway.ports(), {"resp": config.port, "http": config.http_port})


class PlanTests(SynchronousTestCase):
    """The options of several stores."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def kept(self) -> list[StoreConfig]:
        """Make the record of a start, with ports for HTTP that nobody else is given meanwhile."""
        planned = plan(self.folder, 3, 0, 0)
        others = {config.peer_port for config in planned}
        ports = Random().sample([port for port in PEER_PORTS if port not in others], 3)
        configs = [replace(config, http_port=port) for config, port in zip(planned, ports, strict=True)]
        keep(self.folder, configs)
        return configs

    def test_one_store_is_on_its_own(self) -> None:
        (config,) = plan(self.folder, 1, 0, 0)
        self.assertEqual((config.store_id, config.initial_stores, config.data_dir.name), (1, (), "store-1"))
        keep(self.folder, [config])
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_three_stores(self) -> None:
        configs = plan(self.folder, 3, 0, 0)
        keep(self.folder, configs)
        for number, config in enumerate(configs, 1):
            checked(config, "a plan")
            self.assertEqual((config.store_id, config.data_dir), (number, self.folder / f"store-{number}"))
            self.assertEqual(own_address(config), f"127.0.0.1:{config.peer_port}")
            self.assertIn(config.peer_port, PEER_PORTS)
            self.assertEqual(config.initial_stores, configs[0].initial_stores)
            self.assertGreaterEqual(len(read_secret(config)), 32)
        ports = [(config.port, config.cluster_port, config.http_port, config.peer_port) for config in configs]
        self.assertEqual(len({port for of_one in ports for port in of_one}), 12)

    def test_ports_for_clients_of_a_redis_cluster(self) -> None:
        """They are as far above the others as it's said, unless they're taken."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1] - CLUSTER_PORTS
            (config,) = plan(self.folder, 1, port, 0)
            self.assertNotIn(config.cluster_port, (None, port + CLUSTER_PORTS))
        (config,) = plan(self.folder, 1, port, 0)
        self.assertEqual(config.cluster_port, port + CLUSTER_PORTS)

    def test_the_secret_is_its_owners(self) -> None:
        keep(self.folder, plan(self.folder, 3, 0, 0))
        secret = self.folder / "cluster.secret"
        self.assertEqual(secret.stat().st_mode & 0o777, 0o600)
        before = secret.read_text()
        keep(self.folder, plan(self.folder, 3, 0, 0))
        self.assertEqual(secret.read_text(), before)
        self.assertNotIn(before.strip(), (self.folder / "cluster.json").read_text())

    def test_the_ports_stay(self) -> None:
        first = self.kept()
        second = plan(self.folder, 3, 0, None)
        self.assertEqual(first[2].initial_stores, second[2].initial_stores)
        self.assertEqual([config.http_port for config in first], [config.http_port for config in second])

    def test_a_port_for_other_stores_that_is_taken(self) -> None:
        configs = plan(self.folder, 3, 0, 0)
        keep(self.folder, configs)
        with socket.create_server(("127.0.0.1", configs[1].peer_port)):
            said = str(self.assertRaises(Problem, plan, self.folder, 3, 0, 0))
        self.assertIn("Address already in use", said)
        self.assertIn(f"'peer' of store 2 in {self.folder / 'cluster.json'}", said)

    def test_a_port_for_http_that_is_taken(self) -> None:
        configs = self.kept()
        with socket.create_server(("127.0.0.1", configs[1].http_port or 0)):
            again = plan(self.folder, 3, 0, None)
        self.assertEqual(again[0].http_port, configs[0].http_port)
        self.assertNotEqual(again[1].http_port, configs[1].http_port)

    def test_a_port_is_given_once(self) -> None:
        ports = Ports()
        port = ports.claim("--port", 0)
        self.assertIn("to be used twice", str(self.assertRaises(Problem, ports.claim, "--port", port)))
        self.assertNotEqual(ports.first(port), port)


class SchedulerTests(SynchronousTestCase):
    """How many members the scheduler has, and their options."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def plan(self, count: int) -> list[ScheduleConfig]:
        """Choose options, and keep them."""
        configs = plan_schedulers(self.folder, count, Ports())
        keep_schedulers(self.folder, configs)
        return configs

    def test_numbers(self) -> None:
        self.assertEqual([choose_schedulers(self.folder, None, stores) for stores in (1, 3, 5)], [0, 1, 1])
        self.assertEqual([choose_schedulers(self.folder, asked, 3) for asked in (0, 1, 3)], [0, 1, 3])
        self.assertEqual(choose_schedulers(self.folder, 0, 1), 0)
        self.assertIn("no use", str(self.assertRaises(Problem, choose_schedulers, self.folder, 1, 1)))

    def test_a_folder_that_has_some(self) -> None:
        self.plan(3)
        self.assertEqual(choose_schedulers(self.folder, None, 3), 3)
        self.assertEqual(choose_schedulers(self.folder, 0, 3), 0)
        self.assertIn("stays so", str(self.assertRaises(Problem, choose_schedulers, self.folder, 1, 3)))

    def test_options(self) -> None:
        keep(self.folder, plan(self.folder, 3, 0, 0))
        configs = self.plan(3)
        for number, config in enumerate(configs, 1):
            name = f"scheduler-{number}"
            LocalScheduler(name, self.folder, config)
            self.assertEqual(TABLE.load(self.folder / f"{name}.ini"), config)
            self.assertEqual((config.member_id, len(config.initial_members)), (number, 3))
            self.assertGreaterEqual(len(read_secret(config)), 32)
        again = plan_schedulers(self.folder, 3, Ports())
        self.assertEqual([config.initial_members for config in again], [config.initial_members for config in configs])

    def test_none_are_kept_as_nothing(self) -> None:
        self.assertEqual(self.plan(0), [])
        self.assertIsNone(read_members(self.folder))

    def test_a_record_that_is_none(self) -> None:
        member = {"id": 1, "peer": 1, "api": 2}
        for text in ("", "{", "[]", "{}", json.dumps({"format": 1, "members": [{}]}), "\udcff",
                     json.dumps({"format": 2, "members": [member]}), json.dumps({"format": 1, "members": []}),
                     json.dumps({"format": 1, "members": [member] * 2})):  # fmt: skip
            (self.folder / "schedulers.json").write_bytes(text.encode("utf-8", "surrogateescape"))
            self.assertIn("schedulers.json", str(self.assertRaises(Problem, read_members, self.folder)))

    def test_nobody_answers(self) -> None:
        (config,) = self.plan(1)
        scheduler = LocalScheduler("scheduler-1", self.folder, config)
        self.assertFalse(scheduler.answers())
        self.assertIsNone(stores_known([scheduler], 3))


class LogTests(SynchronousTestCase):
    """The end of a log."""

    def test_last_words(self) -> None:
        log = Path(self.mktemp())
        log.write_text("starting\n2026-01-01T00:00:00.000Z error stderr: tinykv: the reason\nmore\n")
        self.assertEqual(last_words(log), "the reason")
        log.write_text("tinykv: another\n")
        self.assertEqual(last_words(log), "another")
        log.write_text("nothing\n")
        self.assertEqual(last_words(log), f"see {log}")

    def test_last_error(self) -> None:
        log = Path(self.mktemp())
        log.write_text("T info a.B: an error\nT warn a.B: x\nerror\n")
        self.assertIsNone(last_error(log))
        said = ["T error a.B: first", "T error a.B: second", *["T info a.B: on it goes"] * TAIL_LINES]
        log.write_text("\n".join(said) + "\n")
        self.assertEqual(last_error(log), "T error a.B: second")
        self.assertIsNone(last_error(Path(self.mktemp())))

    def test_tail(self) -> None:
        log = Path(self.mktemp())
        log.write_bytes(b"".join(b"%d \xff\n" % n for n in range(10_000)))
        self.assertEqual(tail(log), [f"{n} \\xff" for n in range(10_000 - TAIL_LINES, 10_000)])
        self.assertEqual(tail(Path("nowhere")), ["(nowhere can't be read: No such file or directory)"])


class StoreTests(SynchronousTestCase):
    """The files of a store that isn't running."""

    def test_the_configuration_can_be_read_again(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        config = StoreConfig(data_dir=folder / "store-1", port=7000, http_port=7001)
        store = LocalStore("store-1", folder, config)
        self.assertEqual(load(folder / "store-1.ini"), config)
        self.assertFalse(store.answers())

    def test_one_of_several_stores(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for config in plan(folder, 3, 0, 0):
            name = config.data_dir.name
            LocalStore(name, folder, config)
            self.assertEqual(load(folder / f"{name}.ini"), config)

    def test_what_is_left_when_one_has_ended(self) -> None:
        folder = Path(self.mktemp()).absolute() / "a folder"
        folder.mkdir(parents=True)
        store = LocalStore("store-2", folder, StoreConfig(data_dir=folder / "store-2"))
        for running, count, part in (
            (2, 3, "The others carry on (2 of 3). store-2 comes back"),
            (1, 3, "1 of 3 are no majority: "),
            (3, 5, "The others carry on (3 of 5). "),
            (2, 5, "2 of 5 are no majority: "),
        ):
            first, command = what_is_left(store, running, count)
            self.assertIn(part, first)
            self.assertEqual(shlex.split(command)[-2:], ["--config", str(folder / "store-2.ini")])

    def test_no_stores_in_the_record(self) -> None:
        record = Path(self.mktemp())
        write_record(record, [])
        self.assertEqual(json.loads(record.read_text()), {"processes": []})


class QuotedTests(SynchronousTestCase):
    """L{quoted}."""

    def test_every_byte(self) -> None:
        self.assertEqual(quoted(b'a"b\\c\n\r\t\a\b\0\x7f\xff'), '"a\\"b\\\\c\\n\\r\\t\\a\\b\\x00\\x7f\\xff"')
