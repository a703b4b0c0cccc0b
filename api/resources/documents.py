"""`/docs/problems`: where the type URIs of problems lead. Plain pages, nothing loaded from anywhere else."""

from __future__ import annotations

from flask import Blueprint, Response
from markupsafe import Markup

from api.problems import KINDS, TYPE_BASE

blueprint = Blueprint("documents", __name__)

_PAGE = Markup(
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>Weir: problems</title><h1>Problems</h1>"
    "<p>Every kind of problem the REST API answers with. The API itself is described in"
    " <a href=/api/openapi.json>/api/openapi.json</a>.</p>{sections}</html>\n"
)
_SECTION = Markup("<h2 id='{code}'>{code}</h2><p><strong>{status} {title}.</strong> {meaning}</p><p>{remedy}</p>")


@blueprint.get(TYPE_BASE)
def problems() -> Response:
    """The page of all kinds of problems."""
    sections = Markup().join(
        _SECTION.format(code=kind.code, status=kind.status, title=kind.title, meaning=kind.meaning, remedy=kind.remedy)
        for kind in KINDS
    )
    page = Response(_PAGE.format(sections=sections), mimetype="text/html")
    page.headers["Content-Security-Policy"] = "default-src 'none'"
    return page
