"""What the kernel is told about sockets that listen on one TCP address together."""

from __future__ import annotations

import ctypes
import socket
import struct

# From <asm-generic/socket.h>; the standard library has no name for it.
_SO_ATTACH_REUSEPORT_CBPF = 51

_INSTRUCTION = struct.Struct("HBBI")  # struct sock_filter: code, jt, jf, k

_PROGRAM = struct.Struct("@HP")  # struct sock_fprog: how many instructions, where

_RETURN = 0x06  # BPF_RET | BPF_K


def set_shared(listening: socket.socket, *, is_shared: bool) -> None:
    """Let others of the same user listen there too, or not; raises OSError."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(is_shared))


def steer(member: socket.socket, place: int) -> None:
    """Have all new connections go to the socket at that place in the kernel's list, of which
    ``member`` is one; raises OSError."""
    instruction = _INSTRUCTION.pack(_RETURN, 0, 0, place)
    buffer = ctypes.create_string_buffer(instruction, len(instruction))
    program = _PROGRAM.pack(1, ctypes.addressof(buffer))
    member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, program)


def found_list(bound: socket.socket) -> None:
    """Make the list, with one socket that is bound and does not listen yet. Raises OSError.

    The kernel would make it at ``listen`` too, if the socket was shared then, but it would
    remember that of the port, and any program of the same user could take part.
    """
    set_shared(bound, is_shared=True)
    steer(bound, 0)
    set_shared(bound, is_shared=False)
