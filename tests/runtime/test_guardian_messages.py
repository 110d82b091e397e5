"""What is encoded is what is decoded, whatever bytes an environment holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emperor.runtime.guardian.messages import (
    Adopt,
    Body,
    Exited,
    Failed,
    Forget,
    Message,
    Signal,
    Spawn,
    Spawned,
    decode,
    encode,
)

texts = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
numbers = st.integers(min_value=0, max_value=2**31)

spawns = st.builds(
    Spawn,
    request_id=numbers,
    argv=st.lists(texts, max_size=4).map(tuple),
    env=st.dictionaries(texts, texts, max_size=4),
    cwd=st.none() | texts,
    umask=st.none() | st.integers(min_value=0, max_value=0o777),
    targets=st.lists(st.integers(min_value=0, max_value=63), unique=True).map(tuple),
)


@given(message=spawns)
def test_a_spawn_survives_the_journey(message: Spawn) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Body(request_id=7),
        Signal(pid=12, signum=15, group=True),
        Adopt(pid=12),
        Forget(pid=12),
        Spawned(request_id=7, pid=12),
        Failed(request_id=7, errno=2, message="/opt/caf\udce9: No such file or directory"),
        Exited(pid=12, status=-9),
    ],
)
def test_every_other_message_survives_the_journey(message: Message) -> None:
    assert decode(encode(message)) == message


def test_a_packet_is_compact_ascii() -> None:
    packet = encode(Failed(request_id=7, errno=2, message="café"))
    assert packet == rb'["failed",7,2,"caf\u00e9"]'


def test_a_packet_is_decoded_from_a_buffer() -> None:
    assert decode(bytearray(b'["adopt",12,null]')) == Adopt(pid=12)


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (b"", ValueError),
        (b"[", ValueError),
        (b"[]", ValueError),
        (b'["coronation",1]', KeyError),
        (b'["adopt"]', ValueError),
        (b'["adopt",1,2,3]', ValueError),
        (b"7", TypeError),
    ],
)
def test_nonsense_is_refused(packet: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(packet)


@pytest.mark.parametrize("targets", [(3, 3), (64,), (-1,)])
def test_impossible_targets_are_refused(targets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="descriptor number"):
        Spawn(request_id=1, argv=("true",), env={}, targets=targets)
