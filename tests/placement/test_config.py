"""The choices of the placement."""

from __future__ import annotations

from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

from tinykv.placement.config import PlacementConfig
from tinykv.placement.plain import BadRecord


class ConfigTests(SynchronousTestCase):
    """What is possible, and what isn't."""

    def test_what_is_written_is_what_is_read(self) -> None:
        config = PlacementConfig(replicas=5, labels=("rack",), evict_leader=(3,), max_down=60.0)
        self.assertEqual(PlacementConfig.from_json(config.to_json()), config)
        self.assertEqual(PlacementConfig.from_json({}), PlacementConfig())

    def test_times_may_be_whole_numbers(self) -> None:
        self.assertEqual(PlacementConfig().changed({"max_down": 60}).max_down, 60.0)

    def test_every_choice_is_documented(self) -> None:
        text = PlacementConfig.__doc__ or ""
        for each in fields(PlacementConfig):
            self.assertRegex(text, rf"(@ivar {each.name}:|C\{{{each.name}\}})")

    def test_at_the_limits(self) -> None:
        for choices in (
            {"replicas": 1}, {"replicas": 32}, {"leader_limit": 0}, {"merge_size": 0}, {"gate_fraction": 1},
            {"gate_fraction": 0}, {"leader_tolerance": 1}, {"labels": []}, {"schedulers": []}, {"hot_ratio": 1.01},
            {"region_max_size": 1 << 20}, {"region_split_size": 1 << 16}, {"split_load_threshold": 10},
            {"region_max_size": 1 << 20, "region_split_size": (1 << 20) - 1},
        ):  # fmt: skip
            PlacementConfig.from_json(choices)

    def test_refusals(self) -> None:
        for choices, words in (
            ({"colour": 1}, "colour isn't a choice"),
            ({"replicas": 0}, "replicas must be between 1 and 32"),
            ({"replicas": 33}, "replicas must be between 1 and 32"),
            ({"replicas": "3"}, "replicas must be of type int"),
            ({"replicas": 2.5}, "replicas must be of type int"),
            ({"max_down": 20}, "max_down must be greater than disconnected_after"),
            ({"max_down": 1e400}, "finite"),
            ({"leader_limit": -1}, "leader_limit must not be negative"),
            ({"candidates": 0}, "candidates must be greater than 0"),
            ({"add_limit": 0}, "add_limit must be greater than 0"),
            ({"gate_fraction": 1.1}, "gate_fraction must be between 0 and 1"),
            ({"region_max_size": (1 << 20) - 1}, "region_max_size must be at least 1048576, or 0"),
            ({"region_split_size": (1 << 16) - 1}, "region_split_size must be at least 65536, or 0"),
            ({"split_load_threshold": 9}, "split_load_threshold must be at least 10, or 0"),
            ({"split_load_threshold": -1}, "split_load_threshold must not be negative"),
            ({"region_max_size": 1 << 20, "region_split_size": 1 << 20}, "must be less than region_max_size"),
            ({"leader_tolerance": 0}, "leader_tolerance must be at least 1"),
            ({"hot_ratio": 1}, "hot_ratio must be greater than 1"),
            ({"low_space": 0.4}, "low_space must be less than high_space"),
            ({"schedule_interval": 6}, "schedule_interval must be at most"),
            ({"labels": ["a", "a"]}, "labels must be different"),
            ({"labels": [""]}, "labels must be different names"),
            ({"schedulers": ["magic"]}, "schedulers has magic; there are balance-leader"),
            ({"evict_leader": [1], "grant_leader": [1]}, "store 1 can't be in both"),
        ):
            self.assertIn(words, str(self.assertRaises(BadRecord, PlacementConfig.from_json, choices)))
