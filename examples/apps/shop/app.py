"""A shop that adds up: /?tea=2&cake=1 is a bill."""

from urllib.parse import parse_qsl

CENTS = {"tea": 250, "cake": 390}


def application(environ, start_response):
    """Serve one request."""
    wanted = [pair for pair in parse_qsl(environ["QUERY_STRING"]) if pair[0] in CENTS]
    rows = [(name, int(count) if count.isdecimal() else 1) for name, count in wanted]
    rows = rows or [(name, 1) for name in CENTS]
    bill = [f"{count} x {name}: {count * CENTS[name] / 100:.2f}" for name, count in rows]
    total = sum(count * CENTS[name] for name, count in rows)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join((*bill, f"Shop total: {total / 100:.2f}", "")).encode()]
