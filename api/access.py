"""Who may ask: nobody's web page. The API is for programs of this machine, and a browser runs programs of everybody.

A page of another site can send simple requests to any address, loopback included, without reading the answer: enough to
submit a command. Browsers mark such requests (Fetch Metadata, W3C; the Origin header, RFC 6454 § 7); other clients do
not. A name that somebody else points at this machine (DNS rebinding) makes their page one of ours: the Host tells. Keys
and roles come with access control.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, request

from api.problems import CrossSite
from api.settings import LOOPBACK

_OWN_SITES = frozenset({"same-origin", "none"})


def install(app: Flask) -> None:
    """Refuse requests that a page of another site makes."""

    def refuse_cross_site() -> None:
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        foreign = site is not None and site not in _OWN_SITES
        if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
            raise CrossSite(
                "the request names another host than this machine", hint="Use http://127.0.0.1 or localhost."
            )
        if foreign or (origin is not None and urlsplit(origin).netloc != request.host):
            raise CrossSite("a page of another site may not use this API", hint="Open the address itself.")

    app.before_request(refuse_cross_site)
