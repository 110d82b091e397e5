"""Which file systems tell of every change, and which only of those made on this host."""

import ctypes
import functools
import os

_REMOTE = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x65735546: "fuse",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x0BD00BD0: "lustre",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x73757245: "coda",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
    0x47504653: "gpfs",
    0x19830326: "beegfs",
    0xAAD7AAEA: "panfs",
    0x786F4256: "vboxsf",
}


def remote_file_system(path: str) -> str | None:
    """Name the file system of a path if other hosts may change it unseen, else None."""
    return remote_name(file_system_type(os.fsencode(path)))


def remote_name(number: int) -> str | None:
    """Name a file system type, as statfs(2) gives it, if it is one that other hosts change."""
    return _REMOTE.get(number & 0xFFFFFFFF)


def file_system_type(path: bytes) -> int:
    """Give the type of the file system that a path is on, as statfs(2) does; 0: unknown."""
    answer = ctypes.create_string_buffer(512)  # more than any struct statfs
    if _libc().statfs(path, answer) != 0:
        return 0
    # The type is the first member everywhere: a long, but on s390x an unsigned int.
    first = ctypes.c_uint if os.uname().machine == "s390x" else ctypes.c_long
    return first.from_buffer(answer).value


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.statfs.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    return libc
