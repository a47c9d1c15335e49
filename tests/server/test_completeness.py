"""Our own commands counted and probed: nothing is missing that isn't listed, and every example is answered right."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.completeness import implemented_commands, missing, stale
from tests.option_examples import failures, load_examples
from tests.server.harness import Store


class OwnCommandsTests(SynchronousTestCase):
    """What a store's RESP port knows, against the catalogue and a real server's answers."""

    maxDiff = None

    def test_nothing_is_missing(self) -> None:
        self.assertEqual([str(one) for one in missing(implemented_commands())], [])

    def test_no_excuse_is_stale(self) -> None:
        self.assertEqual(stale(implemented_commands()), [])

    def test_every_example_is_answered_as_by_a_real_server(self) -> None:
        implemented = implemented_commands()
        examples = [one for one in load_examples() if one.command in implemented and not one.ends_server]
        self.assertGreater(len(examples), 350)
        store = Store()
        self.assertEqual(failures(examples, store.connect, store.flush), [])
        self.assertEqual(store.defects, [])
