"""The figures of one member for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

#: Borders in seconds: from a commit on a fast disk to one that is in trouble.
DISK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Borders in bytes, from one small entry on.
BATCH_BYTES = tuple(float(1 << power) for power in range(6, 23, 2))


class _Readings(Collector):
    """Makes metrics out of callables at the time of a scrape."""

    def __init__(self) -> None:
        self.readers: list[Callable[[], Metric]] = []

    def collect(self) -> Iterable[Metric]:
        """Read everything."""
        return [reader() for reader in self.readers]


class Metrics:
    """
    The registry of one member. What a replica measures of its own steps is observed here (L{log_commit_seconds} and
    the others); the rest is read when it's asked for.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._readings = _Readings()
        self.registry.register(self._readings)
        self.log_commit_seconds = self._histogram("log_commit_seconds", "Making entries durable.", DISK_SECONDS)
        self.log_commit_bytes = self._histogram("log_commit_bytes", "Bytes of such entries.", BATCH_BYTES)
        self.flush_seconds = self._histogram("flush_seconds", "Writing rows that changed.", DISK_SECONDS)
        self.flush_bytes = self._histogram("flush_bytes", "Bytes of such rows.", BATCH_BYTES)
        self.turn_seconds = self._histogram("turn_seconds", "Applying what was decided.", DISK_SECONDS)

    def _histogram(self, name: str, about: str, borders: tuple[float, ...]) -> Histogram:
        return Histogram(f"tinyschedule_{name}", about, buckets=borders, registry=self.registry)

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Add a figure that goes up and down."""
        self._readings.readers.append(lambda: GaugeMetricFamily(f"tinyschedule_{name}", about, value=read()))

    def counters(self, name: str, about: str, label: str, read: Callable[[], dict[str, float]]) -> None:
        """Add figures that only go up, one for each value of a label."""

        def family() -> Metric:
            made = CounterMetricFamily(f"tinyschedule_{name}", about, labels=[label])
            for value, figure in sorted(read().items()):
                made.add_metric([value], figure)
            return made

        self._readings.readers.append(family)
