"""Keeps this site in the cache of ``cached-router.ini``: its host name, and where it listens.

An entry lives for six seconds and is written again every two. So the order in which routers and
sites start does not matter, a router that starts again is told everything anew, and a site that
is gone is forgotten. It does not take itself out: workers end at a reload, too, and requests
are to wait at the socket then, which stays.
"""

import os

import uwsgi  # there is such a module inside uWSGI only

TEMPLATES = os.path.dirname(os.path.abspath(__file__))
CACHE = f"hosts@{TEMPLATES}/../run/hosts.socket"
HOST = uwsgi.opt["instance"].decode() + ".example"
ADDRESS = uwsgi.opt["socket"]
LIFE_SECONDS = 6
AGAIN_SECONDS = 2
SIGNAL = 17


def enrol(signal=SIGNAL):
    """Say where this site is."""
    uwsgi.cache_update(HOST, ADDRESS, LIFE_SECONDS, CACHE)


uwsgi.post_fork_hook = enrol
uwsgi.register_signal(SIGNAL, "worker1", enrol)
uwsgi.add_timer(SIGNAL, AGAIN_SECONDS)
