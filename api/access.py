"""Who may ask: nobody's web page. The API is for programs of its users, and a browser runs programs of everybody.

A page of another site can send simple requests to any address, loopback included, without reading the answer: enough to
submit a command. Browsers mark such requests (Fetch Metadata, W3C; the Origin header, RFC 6454 § 7); other clients do
not. A name that somebody else points at this machine (DNS rebinding) makes their page one of ours: the Host tells, and
only names we were told are ours (WEIR_API_ALLOWED_HOSTS). Keys and roles come with access control.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Flask, request

from api.problems import CrossSite

_OWN_SITES = frozenset({"same-origin", "none"})


def install(app: Flask, allowed_hosts: Collection[str]) -> None:
    """Refuse requests that a page of another site makes, and those for a host that is none of ours.

    Args:
        app: Whose requests.
        allowed_hosts: Names and addresses by which it may be addressed.
    """
    allowed = frozenset(name.lower() for name in allowed_hosts)

    def refuse_cross_site() -> None:
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        foreign = site is not None and site not in _OWN_SITES
        if urlsplit(f"//{request.host}").hostname not in allowed:
            raise CrossSite(
                "the request is for a host that is none of this API's names",
                hint=f"Its names are {', '.join(sorted(allowed))}; WEIR_API_ALLOWED_HOSTS says which.",
            )
        if foreign or (origin is not None and _host_of(origin) != request.host):
            raise CrossSite("a page of another site may not use this API", hint="Open the address itself.")

    app.before_request(refuse_cross_site)


def _host_of(origin: str) -> str | None:
    """Host and port of an origin; none of what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
