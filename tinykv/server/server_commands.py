"""
Commands about the server as a whole: INFO, TIME, LOLWUT, SHUTDOWN.

@see: U{https://redis.io/commands/?group=server}
"""

from __future__ import annotations

import tinykv
from tinykv.errors import CommandError, NotAnInteger, SyntaxProblem
from tinykv.redis.numbers import parse_int64
from tinykv.resp import replies
from tinykv.server import info as figures
from tinykv.server.connections import REDIS_VERSION
from tinykv.server.questions import ask
from tinykv.server.routes import connection
from tinykv.server.session import Session

#: For how long INFO waits for regions, in seconds: it's asked when something is wrong, too.
_PATIENCE_SECONDS = 1.0
#: Elementary cellular automata whose pictures from a single cell are worth a look.
_RULES = (18, 22, 26, 30, 45, 54, 60, 73, 90, 105, 110, 126, 150)
_COLUMNS = 79
_ROWS = 24
_MOST_CELLS = 100_000


@connection("info", in_order=True, asks=True)
def info(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """Give the figures of the server, by sections; in a transaction those of what is known here."""
    sections = figures.wanted(request[1:])

    def told(databases: bytes | None = None) -> bytes:
        text = figures.text(session.front, sections, databases, cluster=session.cluster)
        return replies.verbatim(text, b"txt", session.proto)

    if number < 0 or "keyspace" not in sections:
        return told()
    return ask(session, number, [b"INFO", b"keyspace"], told, patience=_PATIENCE_SECONDS)


@connection("time")
def time(session: Session, number: int, request: list[bytes]) -> bytes:
    """Give the time: seconds since 1970, and microseconds."""
    seconds, microseconds = divmod(int(session.front.now() * 1_000_000), 1_000_000)
    return replies.bulks([b"%d" % seconds, b"%d" % microseconds])


@connection("lolwut")
def lolwut(session: Session, number: int, request: list[bytes]) -> bytes:
    """Draw something: VERSION and its number choose nothing, numbers behind them are columns and rows."""
    options = request[1:]
    if options and options[0].lower() == b"version" and len(options) > 1:
        if parse_int64(options[1]) is None:
            raise NotAnInteger
        options = options[2:]
    sizes = [parse_int64(option) for option in options[:2]]
    if None in sizes:
        raise NotAnInteger
    columns = max(1, (sizes[0] or 0) if sizes else _COLUMNS)
    rows = max(1, (sizes[1] or 0) if len(sizes) > 1 else _ROWS)
    rule = _RULES[int(session.front.now()) % len(_RULES)]
    columns = min(columns, 1000)
    rows = min(rows, _MOST_CELLS // columns)
    text = (
        f"{picture(rule, columns, rows)}\nRule {rule}, from one cell (S. Wolfram, 1983). "
        f"TinyKV ver. {tinykv.__version__}, as Redis ver. {REDIS_VERSION.decode()}\n"
    )
    return replies.verbatim(text.encode(), b"txt", session.proto)


def picture(rule: int, columns: int, rows: int) -> str:
    """Draw an elementary cellular automaton's first generations, from a single cell in the middle."""
    cells = [0] * columns
    cells[columns // 2] = 1
    lines: list[str] = []
    for _ in range(rows):
        lines.append("".join("█" if cell else " " for cell in cells).rstrip())
        around = [0, *cells, 0]
        cells = [rule >> (around[at] * 4 + around[at + 1] * 2 + around[at + 2]) & 1 for at in range(columns)]
    return "\n".join(lines)


@connection("shutdown")
def shutdown(session: Session, number: int, request: list[bytes]) -> bytes | None:
    """
    End the daemon in good order.

    SAVE, NOSAVE, NOW and FORCE make no difference: every acknowledged write is on disk, and there are no replicas to
    wait for. The connection ends instead of an answer.
    """
    options = {option.lower() for option in request[1:]}
    if not options <= {b"nosave", b"save", b"now", b"force", b"abort"} or {b"save", b"nosave"} <= options:
        raise SyntaxProblem
    if b"abort" in options:
        if len(options) > 1:
            raise SyntaxProblem
        raise CommandError(b"ERR No shutdown in progress.")
    session.front.log.info("{peer} asked for the shutdown", peer=session.peer_text.decode())
    session.hold(number)
    session.front.shutdown()
    return None
