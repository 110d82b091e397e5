"""Counts requests, whichever worker serves them."""

import uwsgi  # there is such a module inside uWSGI only


def application(environ, start_response):
    """Serve one request."""
    number = uwsgi.total_requests() + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"You are visitor {number}.\n".encode()]
