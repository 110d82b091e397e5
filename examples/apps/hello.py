"""Greets with what the vassal's file says."""

import uwsgi  # there is such a module inside uWSGI only


def application(environ, start_response):
    """Serve one request."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [uwsgi.opt["greeting"], b"\n"]
