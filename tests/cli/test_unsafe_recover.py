"""
What is left of a cluster goes on without a majority that is lost for good, but only if it's asked to in so many words.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.folders import fingerprint, write_sample
from tests.storage.folders import open_small
from tinykv.cli.main import tinykv
from tinykv.cli.stopped import StoppedStore, hold
from tinykv.raft.membership import REMOVE, Change, Step
from tinykv.raft.messages import CHANGE, Entry
from tinykv.raft.stored import stored_data
from tinykv.raft.wire import encode_change
from tinykv.region.descriptor import UNKNOWN_PEERS, Descriptor, descriptor_key
from tinykv.region.state import FIRST_INDEX, FIRST_TERM
from tinykv.storage.log import LogStore
from tinykv.storage.reader import Reader
from tinykv.storage.schema import Kind, open_file
from tinykv.storage.writers import LogBatch

THREE = Descriptor.initial(1, [1, 2, 3])


class RecoverTests(SynchronousTestCase):
    """One store's folder."""

    sample = ""

    def setUp(self) -> None:
        """Make the folder of store 1, with the descriptor of a cluster of three."""
        cls = type(self)
        if not cls.sample:
            cls.sample = str(Path("recover sample").absolute())
            shutil.rmtree(cls.sample, ignore_errors=True)
            write_sample(cls.sample)
        self.path = self.mktemp()
        shutil.copytree(cls.sample, self.path)
        self.put(THREE)

    def put(self, descriptor: Descriptor) -> None:
        """Write a descriptor."""
        folder = open_small(self.path)
        folder.rewrite(1, folder.recover(1).applied, descriptor_key(1), descriptor.encode())
        folder.close()

    def write_log(self, batch: LogBatch) -> None:
        """Change the log."""
        path = str(Path(self.path) / Kind.RAFT.value)
        connection = open_file(path, Kind.RAFT)
        LogStore(connection, path, noting=False).write(batch.operations)
        connection.close()

    def descriptor(self) -> Descriptor:
        """Read the descriptor."""
        folder = open_small(self.path)
        row = Reader(folder.data_path).get("region", descriptor_key(1))
        folder.close()
        assert row is not None
        return Descriptor.decode(1, row)

    def recover(self, *arguments: str) -> Result:
        """Run the command."""
        result = CliRunner().invoke(tinykv, ["unsafe-recover", self.path, *arguments])
        self.assertFalse(isinstance(result.exception, Exception), result)
        return result

    def refused(self, words: str, *arguments: str) -> None:
        """Check that it's refused, and that nothing was changed."""
        before = fingerprint(self.path)
        result = self.recover(*arguments, "--i-may-lose-writes")
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertIn(words, result.output)
        self.assertEqual(fingerprint(self.path), before)

    def test_it_only_tells(self) -> None:
        before = fingerprint(self.path)
        result = self.recover("--survivor", "1")
        self.assertEqual(result.exit_code, 0, result.output)
        for words in ("CAN LOSE ACKNOWLEDGED WRITES", "entry 5 of term 1", "stores 1, 2, 3", "Nothing was changed"):
            self.assertIn(words, result.output)
        self.assertEqual(fingerprint(self.path), before)

    def test_it_is_done(self) -> None:
        result = self.recover("--survivor", "1", "--i-may-lose-writes")
        self.assertEqual(result.exit_code, 0, result.output)
        after = self.descriptor()
        self.assertEqual(after, THREE.surviving([1]))
        self.assertEqual((after.stores, after.membership.voters, after.removed), ({1: 1}, (1,), (2, 3)))
        self.assertEqual((after.next_peer, after.conf_ver), (4 + UNKNOWN_PEERS, 2))
        checked = CliRunner().invoke(tinykv, ["check", self.path])
        self.assertEqual(checked.exit_code, 0, checked.output)
        self.refused("1 are a majority", "--survivor", "1")

    def test_who_joins_later_gets_a_snapshot(self) -> None:
        """The log knows nothing of what was done by hand, so nobody may begin with it."""
        # A log that reaches back behind what is applied, as those of stores do that keep some for others.
        batch = LogBatch()
        batch.reset(1, 1, 1)
        batch.append(1, 2, [(1, b"")] * 4)
        self.write_log(batch)
        self.recover("--survivor", "1", "--i-may-lose-writes")
        folder = open_small(self.path)
        found = folder.recover(1)
        self.assertEqual((found.base, found.applied, found.last), ((3, 1), (3, 1), (5, 1)))
        folder.close()

    def test_two_of_five(self) -> None:
        self.put(Descriptor.initial(1, [1, 2, 3, 4, 5]))
        self.refused("1, 2, 4 are a majority", "--survivor", "1", "--survivor", "2", "--survivor", "4")
        self.recover("--survivor", "1", "--survivor", "4", "--i-may-lose-writes")
        self.assertEqual(self.descriptor().membership.voters, (1, 4))

    def test_another_stores_folder(self) -> None:
        self.refused("this is store 1, and it's not among the survivors", "--survivor", "2")

    def test_who_is_no_member(self) -> None:
        self.refused("7 isn't a member; members are 1, 2, 3", "--survivor", "1", "--survivor", "7")

    def test_members_that_are_not_known_yet(self) -> None:
        shutil.rmtree(self.path)
        shutil.copytree(self.sample, self.path)
        self.refused("isn't in the rows yet; start this store", "--survivor", "1")

    def test_a_region_of_which_nothing_is_here(self) -> None:
        """A replica that began by word has voted, and never got a copy: the others go on without it."""
        batch = LogBatch()
        batch.hard_state(7, 9, 4, 2, 0)
        self.write_log(batch)
        result = self.recover("--survivor", "1")
        self.assertEqual(result.exit_code, 0, result.output)
        said = " ".join(result.output.split())
        self.assertIn("Regions of which nothing is here yet, neither rows nor a log: 7.", said)
        self.assertIn(", region 1: its log ends", said)
        result = self.recover("--survivor", "1", "--i-may-lose-writes")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(self.descriptor(), THREE.surviving([1]))
        with hold(Path(self.path)) as held, StoppedStore(held) as store:
            self.assertEqual(store.promised()[7], 0)
            kept = store.recover(7).hard_state
            assert kept is not None
            self.assertEqual((kept.peer, kept.term, kept.vote), (9, 4, 2))
        self.refused("Nothing is known here of regions 7", "--survivor", "1")

    def test_nothing_but_such_regions(self) -> None:
        folder = self.mktemp()
        open_small(folder).close()
        self.path = folder
        batch = LogBatch()
        for region in (7, 8):
            batch.hard_state(region, 9, 4, 2, 0)
        self.write_log(batch)
        self.refused("of regions 7, 8, in which this store votes, it has neither rows nor a log", "--survivor", "1")

    def test_a_part_that_is_not_in_the_rows_yet(self) -> None:
        """It was split off here, so a start finds it in the other region's log."""
        batch = LogBatch()
        batch.reset(7, FIRST_INDEX, FIRST_TERM)
        batch.hard_state(7, 9, FIRST_TERM, 0, FIRST_INDEX)
        self.write_log(batch)
        self.refused("isn't in the rows yet; start this store", "--survivor", "1")

    def test_a_change_that_is_not_applied(self) -> None:
        change = stored_data(Entry(6, 1, CHANGE, encode_change(Change((Step(REMOVE, 2),)))))
        batch = LogBatch()
        batch.append(1, 6, [(1, change)])
        self.write_log(batch)
        self.refused("entry 6 changes the members and isn't applied", "--survivor", "1")

    def test_a_store_that_runs(self) -> None:
        folder = open_small(self.path)
        self.addCleanup(folder.close)
        result = self.recover("--survivor", "1")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("a store is running", result.output)

    def test_several_regions(self) -> None:
        """Those whose majority survives stay as they are."""
        second = Descriptor.initial_regions(2, [1, 2, 3])[1]
        third = Descriptor.initial(3, [1, 4, 5])
        folder = open_small(self.path)
        for descriptor in (second, third):
            region = descriptor.region
            folder.rewrite(region, (0, 0), descriptor_key(region), descriptor.encode())
        folder.close()
        result = self.recover("--survivor", "1", "--survivor", "4", "--survivor", "5", "--i-may-lose-writes")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("Regions that go on by themselves, and stay as they are: 3", result.output)
        path = str(Path(self.path) / Kind.DATA.value)
        connection = open_file(path, Kind.DATA)
        self.addCleanup(connection.close)
        for region, stores in ((1, {1: 1}), (2, {1: 1}), (3, {1: 1, 2: 4, 3: 5})):
            row = Reader(path, connection).get("region", descriptor_key(region))
            assert row is not None
            self.assertEqual(Descriptor.decode(region, row).stores, stores)
