"""Tells the time as JSON, and which worker looked at the clock."""

import json
from datetime import UTC, datetime

import uwsgi  # there is such a module inside uWSGI only


def application(environ, start_response):
    """Serve one request."""
    shown = {"time": datetime.now(UTC).isoformat(), "worker": uwsgi.worker_id()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode(), b"\n"]
