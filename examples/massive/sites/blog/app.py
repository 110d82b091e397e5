"""Says which vassal serves it: ``blog``, or another instance of it."""

import uwsgi  # there is such a module inside uWSGI only


def application(environ, start_response):
    """Serve one request."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"The blog, by " + uwsgi.opt["instance"] + b"\n"]
