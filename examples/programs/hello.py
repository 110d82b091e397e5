"""One greeting, as WSGI and as ASGI."""

import os


def text(server):
    return f"Hello from {server}, process {os.getpid()}\n".encode()


def headers(body):
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]


def wsgi(environ, start_response):
    body = text("gunicorn")
    start_response("200 OK", headers(body))
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body = text("uvicorn")
    named = [(name.lower().encode(), value.encode()) for name, value in headers(body)]
    await send({"type": "http.response.start", "status": 200, "headers": named})
    await send({"type": "http.response.body", "body": body})
