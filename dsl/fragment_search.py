"""Full-text search over fragments: ranked, with snippets, on the index of migration 0005.

A text is read as search engines do: words must all be there, "quoted words" next to each other, `or` between
alternatives, `-word` must not be there. Words are looked for as they are written (upper and lower case alike), and as
the beginnings of longer ones: `weir` finds `weirs`, which is what the stems of a language would be good for.
"""

from __future__ import annotations

import re
from typing import Any, LiteralString

from psycopg import Connection, sql
from psycopg.rows import dict_row, scalar_row

from dsl.fragment_selection import Filter, conditions_of
from dsl.fragments import json_row
from dsl.records import checked_text

#: Characters of a searched text, at most.
MAX_TEXT = 1000

#: One word of a tsquery in its text form: quotes are doubled inside.
_LEXEME = re.compile(r"'(?:[^']|'')*'")
_QUOTED = re.compile(r'"([^"]*)"')

_PARSE: LiteralString = "select websearch_to_tsquery('simple', %(text)s)::text"

#: The ranking divides by the logarithm of the length (1), so that a short note can stand before a long one. Snippets
#: are made of the part of the content that is indexed, and only of rows that are returned.
_SEARCH: LiteralString = """
with wanted as (
    select %(query)s::tsquery as query
), best as (
    select f.id, ts_rank_cd(f.search, wanted.query, 1) as rank
    from wanted cross join fragments f
    where f.search @@ wanted.query{conditions}
    order by rank desc, f.id desc
    limit %(limit)s
)
select f.id, f.type, f.title, f.tags, f.created_at, f.updated_at, best.rank,
    ts_headline(
        'simple', left(f.content, 100000), wanted.query,
        'StartSel=**, StopSel=**, MaxFragments=2, MinWords=5, MaxWords=20, FragmentDelimiter=" … "'
    ) as snippet
from best join fragments f using (id) cross join wanted
order by best.rank desc, f.id desc"""


def search(
    connection: Connection[Any], text: str, which: Filter, *, limit: int, prefix: bool = True
) -> list[dict[str, Any]]:
    """The fragments that fit a text best, best first, as JSON values without their contents.

    Args:
        connection: Where.
        text: At most `MAX_TEXT` characters; one without any word finds nothing.
        which: Only among these.
        limit: How many, at most.
        prefix: Whether a word that is neither quoted nor excluded also finds longer words.

    Returns:
        {"id", "type", "title", "tags", "created_at", "updated_at", "rank": more than 0, "snippet": parts of the
        content, the words that were found between `**`}.

    Raises:
        RecordInvalid: The text is too long or holds what Postgres cannot, or a filter's value cannot be one.
    """
    parse = connection.cursor(row_factory=scalar_row)
    query: str = parse.execute(_PARSE, {"text": checked_text("text", text, MAX_TEXT)}).fetchone() or ""
    if not query:
        return []
    statement, parameters = _narrowed(which)
    parameters |= {"query": _with_prefixes(query, text) if prefix else query, "limit": limit}
    cursor = connection.cursor(row_factory=dict_row)
    return [json_row(row) for row in cursor.execute(statement, parameters)]


def _narrowed(which: Filter) -> tuple[sql.Composed, dict[str, Any]]:
    parameters: dict[str, Any] = {}
    conditions: list[sql.Composable] = []
    for condition, values in conditions_of(which):
        conditions.append(sql.SQL(" and ") + sql.SQL(condition))
        parameters |= values
    return sql.SQL(_SEARCH).format(conditions=sql.Composed(conditions)), parameters


def _with_prefixes(query: str, text: str) -> str:
    """A tsquery whose words also stand for longer ones, but for those it excludes and those the text has in quotes."""
    quoted = {word for phrase in _QUOTED.findall(text.lower()) for word in re.split(r"\W+", phrase)}

    def widened(match: re.Match[str]) -> str:
        before, after = query[: match.start()], query[match.end() :]
        in_phrase = before.endswith("> ") or after.startswith(" <")
        is_exact = in_phrase or before.endswith("!") or match[0][1:-1] in quoted
        return match[0] if is_exact else f"{match[0]}:*"

    return _LEXEME.sub(widened, query)
