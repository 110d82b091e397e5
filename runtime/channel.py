"""The two sockets between the daemon and one vassal: commands, and the config pipe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from emperor.runtime.protocol import frames
from emperor.runtime.sockets import refuse_descriptors

#: Numbers of the vassal's ends in the vassal; low, for programs that use select().
COMMAND_TARGET = 3
CONFIG_TARGET = 4

#: More unread configs than this are not kept for a vassal that never reads.
MOST_UNREAD_BYTES = 8 * 1024 * 1024


class Channel:
    """The daemon's ends; made inside a running loop. Raises OSError (EMFILE).

    ``on_bytes`` gets what the vassal says. The vassal's ends are handed over once, then closed.
    """

    def __init__(self, on_bytes: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_bytes = on_bytes
        self._command, self._their_command = socket.socketpair()
        try:
            self._config, self._their_config = socket.socketpair()
        except OSError:
            self._command.close()
            self._their_command.close()
            raise
        self._command.setblocking(False)
        refuse_descriptors(self._command)
        self._config.setblocking(False)
        self._unsent = bytearray()
        self._is_writing = False
        # by number: asyncio would format each socket into a message that nobody reads
        self._loop.add_reader(self._command.fileno(), self._read)

    def theirs(self) -> dict[int, int]:
        """The vassal's ends: number in the vassal -> our descriptor."""
        return {
            COMMAND_TARGET: self._their_command.fileno(),
            CONFIG_TARGET: self._their_config.fileno(),
        }

    def their_command(self, target: int) -> dict[int, int]:
        """The end for commands alone, for a program that reads no config."""
        return {target: self._their_command.fileno()}

    def handed_over(self) -> None:
        """Close the vassal's ends here: only the vassal may hold them."""
        self._their_command.close()
        self._their_config.close()

    def send(self, byte: int) -> None:
        """Say one byte; a vassal that never reads does not hold anybody up."""
        try:
            self._command.send(bytes((byte,)))
        except OSError:
            return  # it is dead or deaf: its exit, or a deadline, will tell

    def deliver(self, texts: Sequence[bytes]) -> None:
        """Send a config, in parts where it has several."""
        packet = frames(texts)
        if len(self._unsent) + len(packet) > MOST_UNREAD_BYTES:
            return
        self._unsent += packet
        self._write()

    def close(self) -> None:
        """Close everything that is still open."""
        self._loop.remove_reader(self._command.fileno())
        self._stop_writing()
        for end in (self._command, self._config, self._their_command, self._their_config):
            end.close()

    def _read(self) -> None:
        try:
            data = self._command.recv(256)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_bytes(data)
        else:
            self._loop.remove_reader(
                self._command.fileno()
            )  # closed; its exit comes from the guardian

    def _write(self) -> None:
        while self._unsent:
            try:
                sent = self._config.send(self._unsent)
            except BlockingIOError:
                self._loop.add_writer(self._config.fileno(), self._write)
                self._is_writing = True
                return
            except OSError:
                self._unsent.clear()
                break
            del self._unsent[:sent]
        self._stop_writing()

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._loop.remove_writer(self._config.fileno())
            self._is_writing = False
