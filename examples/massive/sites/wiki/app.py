"""Says how many workers it has."""

import uwsgi  # there is such a module inside uWSGI only


def application(environ, start_response):
    """Serve one request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"The wiki, workers: {uwsgi.numproc}\n".encode()]
