"""Shows a request as the app sees it."""


def application(environ, start_response):
    """Serve one request."""
    rows = [f"{name} = {value}\n" for name, value in environ.items() if isinstance(value, str)]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(sorted(rows)).encode()]
