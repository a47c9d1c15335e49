"""
Tests for L{tinykv.resp.splitting}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tinykv.errors import Damaged
from tinykv.resp import replies
from tinykv.resp.splitting import elements_of

_ELEMENTS = st.recursive(
    st.one_of(
        st.binary(max_size=20).map(lambda text: b"$%d\r\n%b\r\n" % (len(text), text)),
        st.sampled_from(
            (b"+OK\r\n", b"-ERR no\r\n", b":5\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b"(12\r\n")
        ),
        st.sampled_from((b",1.5\r\n", b"=5\r\ntxt:a\r\n", b"!5\r\nERR a\r\n")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda some: b"*%d\r\n%b" % (len(some), b"".join(some))),
        st.lists(inner, max_size=4).map(lambda some: b"~%d\r\n%b" % (len(some), b"".join(some))),
        st.lists(inner, max_size=3).map(lambda some: b"%%%d\r\n%b" % (len(some), b"".join(some + some))),
    ),
    max_leaves=10,
)


class ElementsTests(SynchronousTestCase):
    """L{elements_of}."""

    @given(st.lists(_ELEMENTS, max_size=5))
    def test_any_elements(self, elements: list[bytes]) -> None:
        self.assertEqual(elements_of(replies.array(elements)), elements)

    def test_an_attribute_belongs_to_what_follows(self) -> None:
        element = b"|1\r\n+a\r\n+b\r\n:5\r\n"
        self.assertEqual(elements_of(b"*2\r\n" + element + b"+c\r\n"), [element, b"+c\r\n"])

    def test_no_whole_array(self) -> None:
        whole = replies.array([b"$3\r\nabc\r\n", replies.array([b":1\r\n"])])
        for end in range(len(whole)):
            self.assertRaises(Damaged, elements_of, whole[:end])
        for bad in (whole + b"+", b"+OK\r\n", b"*1\r\n%-1\r\n+\r\n+", b"*9999999999\r\n:1\r\n", b"*x\r\n:1\r\n"):
            self.assertRaises(Damaged, elements_of, bad)

    @given(st.binary(max_size=40))
    def test_any_bytes(self, data: bytes) -> None:
        for text in (data, b"*2\r\n" + data):
            try:
                elements_of(text)
            except Damaged:
                continue
