"""
Lines of the log that a peer can cause, rationed: each peer and reason has one a minute.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tinykv.peering.figures import PeerFigures

#: Within so many seconds the same is said once.
NOTICE_SECONDS = 60.0
#: Different things that are remembered; when all are younger than that, nothing new is said.
NOTICES_MAX = 1024


class Notices:
    """
    Says things once a minute.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, figures: PeerFigures) -> None:
        self._clock = clock
        self._figures = figures
        #: When each was said last, oldest first.
        self._said: dict[tuple[str, str], float] = {}

    def warn(self, peer: str, reason: str, text: str) -> None:
        """
        Log a warning, unless this peer gave the same reason within the last minute.

        @param peer: Names the peer, and begins the line.
        @param reason: What the line is about, in a word.
        """
        now = self._clock.seconds()
        said = self._said
        while said and now - next(iter(said.values())) >= NOTICE_SECONDS:
            del said[next(iter(said))]
        key = (peer, reason)
        if key in said or len(said) >= NOTICES_MAX:
            self._figures.log_lines_held += 1
            return
        said[key] = now
        self.log.warn("{peer}: {text}", peer=peer, text=text, reason=reason)
