"""Serves, and says by systemd's notify protocol that it is ready, alive, and on its way out."""

import http.server
import os
import signal
import socket
import sys
import threading


def tell(words):
    """Say something to the Emperor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(words.encode(), os.environ["NOTIFY_SOCKET"])


class Greeting(http.server.BaseHTTPRequestHandler):
    """Says the same to everybody."""

    def do_GET(self):
        """Answer one request."""
        body = b"Hello from a few lines of Python\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """Serves on the Emperor's socket, and says that it is alive."""

    def service_actions(self):
        """Called twice a second, and after each request."""
        tell("WATCHDOG=1")


def go(number, frame):
    """Answer what is left, and leave."""
    tell("STOPPING=1\nSTATUS=answering what is left")
    threading.Thread(target=server.shutdown).start()


server = Server(("", 0), Greeting, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
signal.signal(signal.SIGTERM, go)
tell("READY=1")
server.serve_forever()
sys.exit(0)
