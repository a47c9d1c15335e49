"""What the tests of the readers feed: streams of requests, good and bad, and ways to cut them."""

from __future__ import annotations

from hypothesis import strategies as st

from tinykv.resp.limits import RequestLimits
from tinykv.resp.reader import NEED_DATA, ProtocolError, RequestReader
from tinykv.resp.replies import encode_command

Outcome = tuple[list[list[bytes]], bytes | None]
"""The requests, and the text of the error behind them if there was one."""


def read_all(pieces: list[bytes], limits: RequestLimits | None = None) -> Outcome:
    """What the reference reader makes of a stream that comes in these pieces."""
    reader = RequestReader(limits or RequestLimits())
    requests = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (request := reader.next_request()) is not NEED_DATA:
                requests.append(request)
        except ProtocolError as error:
            return requests, error.wire
    return requests, None


def single_bytes(data: bytes) -> list[bytes]:
    """The stream, a byte at a time."""
    return [data[index : index + 1] for index in range(len(data))]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The stream, cut at these places (taken modulo its length)."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


arguments = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"GET", b"\r\n", b"a\r\nb", b"*3\r\n$1\r\n", b"$5", b"x" * 300, b"\n*1\r\n", b"\0"]),
)
requests = st.lists(arguments, min_size=1, max_size=5)
inline = st.sampled_from(
    [
        b"PING\r\n",
        b"GET a\n",
        b"\r\n",
        b"  \r\n",
        b"SET a 'b c'\r\n",
        b'SET a "\\x00\\n"\r\n',
        b"*0\r\n",
        b"*-1\r\n",
        b"*-7\r\n",
    ]
)
damage = st.sampled_from(
    [
        b"*1\rX$1\rYaZZ",
        b"*2\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n",
        b"*1\r\n:1\r\n",
        b"*01\r\n$1\r\na\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$01\r\na\r\n",
        b"*1\r\n+OK\r\n",
        b"~1\r\n$1\r\na\r\n",
        b"*1000000000\r\n",
        b"*1\r\n*1000000\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"+OK\r\n",
        b":0\r\n",
        b"_\r\n",
        b"\0\r\n",
        b"*1\r\n\0\r\n",
        b"GET 'a\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nabcdef",
    ]
)
good_streams = st.lists(st.one_of(requests.map(encode_command), inline), max_size=12).map(b"".join)
plain_streams = st.lists(requests.map(encode_command), max_size=20).map(b"".join)
bad_streams = st.lists(st.one_of(requests.map(encode_command), inline, damage), max_size=12).map(b"".join)
places = st.lists(st.integers(min_value=0, max_value=2000), max_size=8)


@st.composite
def mutated_streams(draw: st.DrawFn) -> bytes:
    """A good stream in which some bytes were changed, lost or put in."""
    data = bytearray(draw(plain_streams))
    for _ in range(draw(st.integers(min_value=1, max_value=4))):
        place = draw(st.integers(min_value=0, max_value=len(data)))
        size = draw(st.integers(min_value=0, max_value=3))
        data[place : place + size] = draw(
            st.one_of(
                st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"*", b"$", b"0", b"9", b"-", b"\0"]),
                st.binary(max_size=3),
            )
        )
    return bytes(data)


bulks = arguments.map(lambda text: b"$%d\r\n%b\r\n" % (len(text), text))
ODD_REPLIES = [
    b"+PING\r\n",
    b"+\r\n",
    b"-ERR no\r\n",
    b":1\r\n",
    b"_\r\n",
    b",1.5\r\n",
    b"#t\r\n",
    b"(12\r\n",
    b"=5\r\ntxt:a\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*1\r\n$1\r\na\r\n",
    b">1\r\n$1\r\na\r\n",
    b"~1\r\n$1\r\na\r\n",
    b"%1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"|1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"$1\r\naXY",
    b"$01\r\na\r\n",
    b"$+1\r\na\r\n",
    b"$1 \r\na\r\n",
    b"$1\ra\r\n",
    b"$1\na\r\n",
    b"$1000000000\r\n",
    b"*1000000000\r\n",
    b"*1048577\r\n",
]
"""What hiredis may take for an argument, or refuses."""

odd_replies = st.sampled_from(ODD_REPLIES)
numbers = st.one_of(
    st.integers(-2, 12).map(lambda number: b"%d" % number),
    st.sampled_from([b"", b"00", b"01", b"+1", b"-0", b" 1", b"1 ", b"1\0", b"99", b"100", b"1" * 20, b"2147483648"]),
)
headers = st.builds(
    b"".join,
    st.tuples(
        st.sampled_from([b"*", b"$", b"%", b"~", b">", b"|", b"=", b"+", b":", b"("]),
        numbers,
        st.sampled_from([b"\r\n", b"\r\n", b"\r", b"\n", b"\r\r\n", b"\n\r", b"xy", b""]),
    ),
)
arrays = st.tuples(bulks, st.lists(bulks, max_size=2), odd_replies, st.lists(bulks, max_size=1)).map(
    lambda it: b"*%d\r\n%b%b%b%b" % (2 + len(it[1]) + len(it[3]), it[0], b"".join(it[1]), it[2], b"".join(it[3]))
)
hostile_pipelines = st.one_of(
    arrays,
    st.lists(st.one_of(requests.map(encode_command), arrays, odd_replies), max_size=4).map(b"".join),
    st.lists(st.one_of(requests.map(encode_command), arrays, odd_replies, headers, bulks), max_size=8).map(b"".join),
)
"""Streams made to be read otherwise by a parser of replies: whole replies, and broken ones as well."""
