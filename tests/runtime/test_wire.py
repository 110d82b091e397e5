"""Messages between the daemon and the compile server survive any cutting, and have a limit."""

import json
import os
import socket
import struct

import pytest

from emperor.runtime.compiling.wire import MOST_BYTES, Inbox, TooLong, encode, receive

MESSAGES: tuple[dict[str, object], ...] = (
    {"id": 1, "op": "compile"},
    {"text": "ö \udcff \n"},
    {"list": [1, None, [True]]},
    {},
)


def test_messages_arrive_however_they_are_cut() -> None:
    stream = b"".join(map(encode, MESSAGES))
    for size in (1, 2, 3, 7, len(stream)):
        inbox = Inbox()
        found = []
        for start in range(0, len(stream), size):
            found += inbox.feed(stream[start : start + size])
        assert found == list(MESSAGES)


def test_nothing_is_a_message_until_it_is_whole() -> None:
    inbox = Inbox()
    packet = encode({"id": 1})
    assert inbox.feed(packet[:-1]) == []
    assert inbox.feed(packet[-1:] + packet) == [{"id": 1}, {"id": 1}]


def test_a_message_may_be_as_long_as_the_limit_and_no_longer() -> None:
    around = len(json.dumps({"a": ""}, separators=(",", ":")))
    longest = {"a": "x" * (MOST_BYTES - around)}
    packet = encode(longest)
    assert len(packet) == MOST_BYTES + 4
    assert Inbox().feed(packet) == [longest]
    with pytest.raises(TooLong):
        encode({"a": longest["a"] + "x"})
    with pytest.raises(TooLong):  # before it has come
        Inbox().feed(struct.pack("<I", MOST_BYTES + 1))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"nul", b"{} {}", b"[" * 100_000, b'{"a": ' * 50_000]
)
def test_what_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Inbox().feed(struct.pack("<I", len(body)) + body)


def test_a_blocking_half_gets_message_and_descriptors() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as null:
        socket.send_fds(ours, [encode({"op": "worker"})], [null.fileno()])
        ours.sendall(encode({"op": "next"}))
        first = receive(theirs)
        assert first is not None
        message, (descriptor,) = first
        assert message == {"op": "worker"}
        assert os.path.samestat(os.fstat(descriptor), os.fstat(null.fileno()))
        os.close(descriptor)
        assert receive(theirs) == ({"op": "next"}, [])
        ours.shutdown(socket.SHUT_WR)
        assert receive(theirs) is None
