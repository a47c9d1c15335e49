"""The figures: what is read at a scrape, and under which name it's exported."""

from __future__ import annotations

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tinykv.server.metrics import Metrics


class MetricsTests(SynchronousTestCase):
    """A registry of one store."""

    def setUp(self) -> None:
        self.metrics = Metrics()

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a sample at this moment."""
        return self.metrics.registry.get_sample_value(name, labels)

    def test_a_counter_is_read_at_the_scrape(self) -> None:
        seen = [0]
        self.metrics.counter("commands_total", "Commands.", lambda: seen[0])
        self.assertEqual(self.value("tinykv_commands_total"), 0)
        seen[0] = 5
        self.assertEqual(self.value("tinykv_commands_total"), 5)

    def test_a_gauge(self) -> None:
        self.metrics.gauge("memory_bytes", "Memory.", lambda: 12.5)
        self.assertEqual(self.value("tinykv_memory_bytes"), 12.5)

    def test_counters_by_label(self) -> None:
        calls = {"set": 1}
        self.metrics.counters("calls_total", "Calls.", "command", lambda: calls)
        calls["get"] = 2
        self.assertEqual(self.value("tinykv_calls_total", command="set"), 1)
        self.assertEqual(self.value("tinykv_calls_total", command="get"), 2)

    def test_a_histogram(self) -> None:
        self.metrics.log_commit_seconds.observe(0.002)
        self.assertEqual(self.value("tinykv_log_commit_seconds_count"), 1)
        self.assertEqual(self.value("tinykv_log_commit_seconds_bucket", le="0.001"), 0)
        self.assertEqual(self.value("tinykv_log_commit_seconds_bucket", le="0.0025"), 1)

    def test_the_sizes_of_a_histogram(self) -> None:
        """Each counts what is as large as its border, or smaller."""
        for seconds in (0.001, 0.0011, 5.0, 6.0):
            self.metrics.log_commit_seconds.observe(seconds)
        found = [
            self.value("tinykv_log_commit_seconds_bucket", le=border)
            for border in ("0.0005", "0.001", "0.0025", "2.5", "5.0", "+Inf")
        ]
        self.assertEqual(found, [0, 1, 2, 2, 3, 4])
        self.assertEqual(self.value("tinykv_log_commit_seconds_count"), 4)
        self.assertAlmostEqual(self.value("tinykv_log_commit_seconds_sum"), 11.0021)

    def test_what_runs_here(self) -> None:
        self.metrics.info("1.2.3", "test")
        self.assertEqual(self.value("tinykv_build_info", version="1.2.3", cluster="test"), 1)

    def test_a_name_is_taken_once(self) -> None:
        self.metrics.gauge("depth", "Depth.", lambda: 1)
        self.assertRaises(ValueError, self.metrics.counter, "depth", "Depth.", lambda: 1)

    def test_stores_do_not_see_each_other(self) -> None:
        other = Metrics()
        self.metrics.gauge("depth", "Depth.", lambda: 1)
        self.assertIsNone(other.registry.get_sample_value("tinykv_depth"))

    def test_the_text_is_what_prometheus_reads(self) -> None:
        self.metrics.counter("commands_total", "Commands.", lambda: 1)
        self.metrics.counters("calls_total", "Calls.", "command", lambda: {"set": 1})
        text = generate_latest(self.metrics.registry).decode()
        names = {family.name for family in text_string_to_metric_families(text)}
        self.assertIn("tinykv_commands", names)
        self.assertIn("tinykv_flush_seconds", names)
        self.assertTrue(all(name.startswith("tinykv_") for name in names), names)
