"""A blog of two posts: / lists them, /NAME shows one."""

from html import escape

POSTS = {
    "vassals": "A vassal is one app with one file. Touch the file, and the app reloads.",
    "links": "This site's file is a link. The shop's is a link to the very same file.",
}


def application(environ, start_response):
    """Serve one request."""
    name = environ["PATH_INFO"].strip("/")
    if name and name not in POSTS:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is no such post.\n"]
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    links = "".join(f'<li><a href="/{post}">{post}</a></li>' for post in POSTS)
    text = f"<p>{escape(POSTS[name])}</p>" if name else f"<ul>{links}</ul>"
    return [f"<!doctype html><title>Blog</title><h1>Blog</h1>{text}\n".encode()]
