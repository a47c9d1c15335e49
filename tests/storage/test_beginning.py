"""How a cluster began, kept in a file."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tinykv.placement.region_info import RegionInfo
from tinykv.region.descriptor import Descriptor
from tinykv.storage.beginning import NAME, Beginning, read_beginning, write_beginning
from tinykv.storage.errors import CorruptFile


class BeginningTests(SynchronousTestCase):
    """L{read_beginning} and L{write_beginning}."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_nothing(self) -> None:
        self.assertIsNone(read_beginning(self.folder))

    def test_it_reads_back(self) -> None:
        beginning = Beginning("c0de", (RegionInfo.of(Descriptor.initial(1, [1, 2, 3]), None),))
        write_beginning(self.folder, beginning)
        self.assertEqual(read_beginning(self.folder), beginning)

    def test_something_else(self) -> None:
        region = '{"cluster": "c", "regions": [{}]}'
        for text in ("", "{", "[]", "{}", region, '{"cluster": "c", "regions": 7}', "\udcff"):
            (self.folder / NAME).write_bytes(text.encode("utf-8", "surrogateescape"))
            self.assertIn("doesn't say", str(self.assertRaises(CorruptFile, read_beginning, self.folder)))
