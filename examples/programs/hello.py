"""One greeting, as WSGI and as ASGI."""

import os
import socket


def text(server):
    """What this process says."""
    return f"Hello from {server}, process {os.getpid()}\n".encode()


def headers(body):
    """What goes before the body of every answer."""
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]


def wsgi(environ, start_response):
    """The app as gunicorn calls it."""
    body = text("gunicorn")
    start_response("200 OK", headers(body))
    return [body]


async def asgi(scope, receive, send):
    """The app as uvicorn calls it."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    body = text("uvicorn")
    named = [(name.lower().encode(), value.encode()) for name, value in headers(body)]
    await send({"type": "http.response.start", "status": 200, "headers": named})
    await send({"type": "http.response.body", "body": body})


async def live(receive, send):
    """From the start of the server to its end."""
    await receive()
    # here connections to a database would be opened; then it can serve
    if path := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(b"READY=1", path)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
