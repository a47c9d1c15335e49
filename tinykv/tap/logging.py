"""
The log of a daemon: one line an event on standard error, as text for people or as JSON for a collector.

twistd starts logging after the service was made and asks the application for an observer. So
L{LoggedService}, the outermost service of each daemon, hands it over when it's put into the application:
configuration decides about the log, and nothing is registered globally.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.application.service import IServiceCollection, MultiService
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatEvent,
)
from twisted.python.components import Componentized

from tinykv.config import StoreConfig
from tinykv.gateway.config import GatewayConfig
from tinykv.schedule.config import ScheduleConfig

#: Keys of an event that Twisted adds for itself and that say nothing to a reader of the log.
_INTERNAL = frozenset({"format", "isError", "logLevel", "message", "system", "time", "warning"})


def observer_for(config: StoreConfig | ScheduleConfig | GatewayConfig, stream: TextIO | None = None) -> ILogObserver:
    """
    Make the observer that the options `log_level` and `log_format` ask for.

    @param stream: Where the lines go; standard error if it's None.
    """
    write: Callable[[LogEvent], str | None] = json_line if config.log_format == "json" else text_line
    lines = FileLogObserver(stream or sys.stderr, write)
    least = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(config.log_level))
    if least.defaultLogLevel <= LogLevel.info:
        # It says of each connection to a scheduler that it begins and ends.
        least.setLogLevelForNamespace("twisted.web.client", LogLevel.warn)
    return FilteringLogObserver(lines, [least])


def text_line(event: LogEvent) -> str | None:
    """
    Write an event as `2026-01-31T12:00:00.000Z info tinykv.store: message`, with a traceback below where it
    has one.

    @return: The text with its line end, or None for an event without words. Line ends within the message are
        shown as C{\\n}, so that what a client sent can't forge a line.
    """
    message = formatEvent(event)
    if not message and "log_failure" not in event:
        return None
    head = f"{_moment(event)} {_level(event)} {event.get('log_namespace', '-')}: {_one_line(message)}\n"
    return head + _traceback(event)


def json_line(event: LogEvent) -> str | None:
    """
    Write an event as one JSON object: time, level, namespace, message, its own fields, and the traceback if
    any.

    @return: The object with its line end, or None for an event without words.
    """
    message = formatEvent(event)
    if not message and "log_failure" not in event:
        return None
    record: dict[str, Any] = {
        "time": _moment(event),
        "level": _level(event),
        "namespace": event.get("log_namespace", "-"),
        "message": message,
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _INTERNAL and name not in record:
            record[name] = _plain(value)
    if "log_failure" in event:
        record["traceback"] = _traceback(event)
    return json.dumps(record) + "\n"


class LoggedService(MultiService):
    """The outermost service of a daemon: it brings the log's observer into the application."""

    def __init__(self, observer: ILogObserver) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join the application, and set its log observer where it has none."""
        if isinstance(parent, Componentized) and parent.getComponent(ILogObserver, None) is None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)


def _one_line(message: str) -> str:
    return message.replace("\r", "\\r").replace("\n", "\\n")


def _traceback(event: LogEvent) -> str:
    if "log_failure" not in event:
        return ""
    text = eventAsText(event, includeTraceback=True, includeTimestamp=False, includeSystem=False)
    return text.removeprefix(formatEvent(event)).strip("\n") + "\n"


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event["log_time"], UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return "info" if level is None else str(level.name)


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
