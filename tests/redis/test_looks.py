"""What fronts ask of the data for themselves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.redis.regions import START_TIME, Region, Teller
from tinykv.errors import Damaged
from tinykv.redis import looks
from tinykv.redis.operations import LOOK, NOBODY
from tinykv.redis.ownership import owns


class VersionsTests(SynchronousTestCase):
    """Of keys."""

    def test_versions(self) -> None:
        region = Region()
        client = Teller(1)
        region.do(client, "SET a 1")
        region.do(client, "SET b 1", 3)
        keyspace = region.keyspace
        a, b = (keyspace.databases[db].version(key) for db, key in ((0, b"a"), (3, b"b")))
        ask = [looks.VERSIONS, b"a", b"b", b"a"]
        self.assertEqual(looks.numbers_in(looks.answer(region.execution, 0, ask, region.time)), [a, 0, a])
        self.assertEqual(looks.numbers_in(looks.answer(region.execution, 3, ask, region.time)), [0, b, 0])
        self.assertEqual(keyspace.misses, 0)

    def test_what_has_expired_by_the_clock(self) -> None:
        region = Region()
        region.do(Teller(1), "SET a 1 PX 100")
        for now, there in ((START_TIME, True), (region.time + 99, True), (region.time + 100, False)):
            (version,) = looks.numbers_in(looks.answer(region.execution, 0, [looks.VERSIONS, b"a"], now))
            self.assertEqual(bool(version), there, now)
        self.assertEqual(region.keyspace.noticed, [])

    def test_no_question(self) -> None:
        looks.check([looks.VERSIONS])
        self.assertRaises(Damaged, looks.check, [b"others"])

    def test_whose_keys(self) -> None:
        operation = (LOOK, NOBODY, 0, 0, None, [looks.VERSIONS, b"foo", b"{foo}1"], None)
        self.assertTrue(owns((12182, 12183), operation))
        self.assertFalse(owns((12183, 16384), operation))
        self.assertFalse(owns((0, 12182), operation))
