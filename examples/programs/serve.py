"""uvicorn on the Emperor's socket, with what a rolling reload needs.

It says when it serves. And when it is told to stop, it takes no more connections and gives those that it has
just taken the time to ask: uvicorn alone closes a connection that has not sent its request yet.
"""

import asyncio
import os
import socket
import sys

import uvicorn


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started and "NOTIFY_SOCKET" in os.environ:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])

    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.5)
        await super().shutdown(sockets)


if __name__ == "__main__":
    server = Server(uvicorn.Config(sys.argv[1], fd=3, access_log=False))
    server.run()
    sys.exit(0 if server.started else 3)
