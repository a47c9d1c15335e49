"""
The figures of one store for Prometheus, in a registry of their own.

The hot path counts in plain integers that its parts own; a scrape reads them through callables. So a command
costs no call into this module. Only what has no owner to ask, the durations of rare and slow steps, is
observed here, in histograms.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: Borders in seconds: from a commit on a fast disk to one that is in trouble.
DISK_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
#: Borders in bytes: from one small entry to the largest table of changes.
BATCH_BYTES = tuple(float(1 << power) for power in range(8, 31, 2))

Number = float | int


class _Readings(Collector):
    """Makes metrics out of callables at the time of a scrape."""

    def __init__(self) -> None:
        self._readers: list[Callable[[], Metric]] = []
        self._names: set[str] = set()

    def add(self, name: str, reader: Callable[[], Metric]) -> None:
        """Add a metric under a name that no other has."""
        if name in self._names:
            raise ValueError(f"metric {name} is there already")
        self._names.add(name)
        self._readers.append(reader)

    def collect(self) -> Iterable[Metric]:
        """Read everything."""
        return [reader() for reader in self._readers]


class Histogram:
    """
    Counts observations by size.

    Each entry of each region has three of them, and C{prometheus_client}'s own, which is for any number of threads,
    takes a dozen calls for one.
    """

    __slots__ = ("_borders", "_counts", "_sum")

    def __init__(self, borders: tuple[float, ...]) -> None:
        """
        @param borders: The largest of each size, but for what is larger than all.
        """
        self._borders = borders
        self._counts = [0] * (len(borders) + 1)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """Take one."""
        self._counts[bisect_left(self._borders, amount)] += 1
        self._sum += amount

    def family(self, name: str, about: str) -> Metric:
        """Give what was observed so far."""
        borders = [*map(floatToGoString, self._borders), "+Inf"]
        counts = accumulate(self._counts)
        return HistogramMetricFamily(name, about, buckets=list(zip(borders, counts, strict=True)), sum_value=self._sum)


class Metrics:
    """
    The registry of one store.

    Names are given without prefix and unit suffixes as they end up: C{counter("commands_total", ...)} is
    exported as C{tinykv_commands_total}.

    @ivar registry: What /metrics exports.
    @ivar log_commit_seconds: From handing a turn's entries to the log writer until they're durable.
    @ivar log_commit_bytes: Bytes of such entries.
    @ivar flush_seconds: From handing a table to the data writer until it's in data.db.
    @ivar flush_bytes: Memory of such a table.
    @ivar turn_seconds: How long applying entries held the reactor, each time it did.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._readings = _Readings()
        self.registry.register(self._readings)
        self.log_commit_seconds = self._histogram(
            "log_commit_seconds",
            "Time until the entries of a turn were durable, queueing and fsync included.",
            DISK_SECONDS,
        )
        self.log_commit_bytes = self._histogram(
            "log_commit_bytes", "Bytes of the entries of a turn.", BATCH_BYTES
        )
        self.flush_seconds = self._histogram(
            "flush_seconds", "Time until a table of changes was in data.db.", DISK_SECONDS
        )
        self.flush_bytes = self._histogram(
            "flush_bytes", "Memory of the tables of changes flushed.", BATCH_BYTES
        )
        self.turn_seconds = self._histogram(
            "turn_seconds", "How long applying entries held the reactor, each time it did.", DISK_SECONDS
        )

    def counter(self, name: str, about: str, read: Callable[[], Number]) -> None:
        """
        Export a number that only grows.

        @param name: Ends in C{_total}.
        @param read: Called at each scrape.
        """

        def reading() -> Metric:
            return CounterMetricFamily(f"tinykv_{name}", about, value=read())

        self._readings.add(name, reading)

    def gauge(self, name: str, about: str, read: Callable[[], Number]) -> None:
        """
        Export a number that goes up and down.

        @param name: Ends in its unit (C{_bytes}, C{_seconds}) where it has one.
        @param read: Called at each scrape.
        """

        def reading() -> Metric:
            return GaugeMetricFamily(f"tinykv_{name}", about, value=read())

        self._readings.add(name, reading)

    def counters(
        self, name: str, about: str, label: str, read: Callable[[], Mapping[str, Number]]
    ) -> None:
        """
        Export growing numbers told apart by one label, such as calls by command.

        @param read: Label value to number, called at each scrape. The values must come from a set of our own
            making, never from clients: each makes a time series.
        """

        def reading() -> Metric:
            family = CounterMetricFamily(f"tinykv_{name}", about, labels=[label])
            for value, number in sorted(read().items()):
                family.add_metric([value], number)
            return family

        self._readings.add(name, reading)

    def info(self, version: str, cluster_name: str) -> None:
        """Export what this is, as a gauge of 1 with labels."""

        def reading() -> Metric:
            family = GaugeMetricFamily("tinykv_build_info", "What runs here.", labels=["version", "cluster"])
            family.add_metric([version, cluster_name], 1)
            return family

        self._readings.add("build_info", reading)

    def _histogram(self, name: str, about: str, borders: tuple[float, ...]) -> Histogram:
        histogram = Histogram(borders)
        self._readings.add(name, lambda: histogram.family(f"tinykv_{name}", about))
        return histogram
