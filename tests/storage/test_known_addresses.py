"""
Tests for L{tinykv.storage.known_addresses}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tinykv.storage.errors import CorruptFile
from tinykv.storage.known_addresses import NAME, KnownAddresses

CONFIGURED = {2: "two:1", 3: "three:1"}


class KnownAddressesTests(SynchronousTestCase):
    """L{KnownAddresses}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def begin(self, configured: dict[int, str] = CONFIGURED) -> KnownAddresses:
        """Start, as if again."""
        return KnownAddresses(self.folder, configured)

    def test_as_configured_at_first(self) -> None:
        self.assertEqual(self.begin().addresses, CONFIGURED)
        self.assertEqual(os.listdir(self.folder), [])

    def test_what_a_store_said_is_kept(self) -> None:
        known = self.begin()
        known.keep(3, "moved:1")
        known.keep(4, "joined:1")
        self.assertEqual(self.begin().addresses, {2: "two:1", 3: "moved:1", 4: "joined:1"})
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_it_moves_back(self) -> None:
        for address in ("moved:1", "three:1"):
            self.begin().keep(3, address)
        self.assertEqual(self.begin().addresses, CONFIGURED)

    def test_a_new_configuration_is_newer(self) -> None:
        """Also when it's taken back later: that was about another time."""
        self.begin().keep(3, "moved:1")
        self.assertEqual(self.begin({2: "two:1", 3: "again:1"}).addresses[3], "again:1")

    def test_a_store_that_is_forgotten(self) -> None:
        known = self.begin()
        known.keep(4, "joined:1")
        known.keep(4, None)
        known.keep(5, None)
        self.assertEqual(self.begin().addresses, CONFIGURED)

    def test_something_else(self) -> None:
        for text in (b"", b"[]", b'{"a": ["b", "c"]}', b'{"1": "b"}', b'{"1": ["b"]}', b'{"1": ["b", 2]}', b"\xf0"):
            (self.folder / NAME).write_bytes(text)
            self.assertIn("Delete it", str(self.assertRaises(CorruptFile, self.begin)))

    def test_it_cannot_be_written(self) -> None:
        """The store goes on; it's logged."""
        known = self.begin()
        lines: list[object] = []
        known.log = Logger(observer=LogPublisher(lines.append))
        (self.folder / f"{NAME}.new").mkdir()
        known.keep(3, "moved:1")
        self.assertEqual(len(lines), 1)
        (self.folder / f"{NAME}.new").rmdir()
        known.keep(2, "moved:2")
        self.assertEqual(self.begin().addresses, {2: "moved:2", 3: "moved:1"})
