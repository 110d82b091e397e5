"""Says what people asked for, which is what the HTTP router was told."""


def application(environ, start_response):
    """Serve one request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"The shop: {environ['HTTP_HOST']}{environ['PATH_INFO']}\n".encode()]
