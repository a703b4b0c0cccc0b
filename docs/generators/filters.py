"""docs/reference/filters.md: the filter language, and every field there is, from the catalogue."""

from __future__ import annotations

from docs.generators.markdown import code, document, table
from telemetry.components import ALIASES, COMPONENTS
from telemetry.filters.fields import FIELDS, Field
from telemetry.filters.kinds import MAX_VALUE
from telemetry.filters.parsing import MAX_CLAUSES, MAX_TESTS, MAX_TEXT

INTRODUCTION = """
A filter says which events are meant. `weir telemetry query --filter`, `GET /api/telemetry/events?filter=` and
`GET /api/telemetry/stats?filter=` take the same text:

```console
$ weir telemetry query --filter 'command:todo.add outcome:failed,dead duration:>2s -type:transform' --last 1d
```

means: of the command `todo.add`, failed or dead, longer than two seconds, and not of a step of the type `transform`.
The other options and parameters (`--component`, `level=`, ...) hold besides; all of them become clauses of one filter.
"""

_GRAMMAR = """
## The language

| written | means |
| --- | --- |
| `field:value` | the field is this value |
| `field:a,b` | it is one of these |
| `field:>2s`, `field:>=2s`, `field:<2s`, `field:<=2s` | it is more, or less; of ordered fields |
| `field:100ms..2s` | neither below the one nor above the other; of ordered fields |
| `field:todo.*` | it begins so; of texts |
| `field:*` | it has a value at all |
| `-field:...` | none of that; events without a value of the field are among them |
| `field:"with blanks"` | in quotes a value may hold anything; `\\"` and `\\\\` stand for the characters themselves |

Clauses are separated by blanks and must all hold. A list may mix all of these: `duration:<1ms,>1m`. Upper and lower
case do not matter in names of fields and in words such as `failed`; they do in texts. Nothing is a pattern except a `*`
at the end. What is no filter is refused (`filter.invalid`) with its line and column, what was expected there, and the
nearest name that exists:

```console
$ weir telemetry query --filter 'command:x outcom:failed'
--filter:1:11: there is no field 'outcom' (filter.invalid)
    1 | command:x outcom:failed
      |           ^
      expected: one of the fields of docs/reference/filters.md
      did you mean: outcome
```
"""


def page() -> str:
    """The page."""
    return document("Filters", "`telemetry/filters/`", INTRODUCTION, [_GRAMMAR, _limits(), _fields(), _components()])


def _limits() -> str:
    return (
        f"A filter has at most {MAX_TEXT} characters, {MAX_CLAUSES} clauses and {MAX_TESTS} values; a value has at most"
        f" {MAX_VALUE} characters. The address of a request, in which each byte of a character that is not ASCII takes"
        " three, has at most 8,190 bytes; what is longer is refused with 414 (`request.address_too_long`).\n"
        "However it is written, it is read in one pass, and the statement that it becomes ends after"
        " `WEIR_TELEMETRY_QUERY_TIMEOUT`."
    )


def _fields() -> str:
    rows = [(code(field.name), field.meaning, field.kind.expected, _takes(field), _others(field)) for field in FIELDS]
    return f"## Fields\n\n{table(('field', 'meaning', 'value', 'also', 'other names'), rows)}"


def _components() -> str:
    rows = [(code(name), ", ".join(code(other) for other in ALIASES if ALIASES[other] == name)) for name in COMPONENTS]
    return (
        "## Names of components\n\nOther systems call them otherwise. These names are understood wherever a component"
        " is asked for, and as a type\nof events: by filters, by the options `--component`, `--components` and"
        " `--event-type`, by the parameters of the API\nand by `WEIR_RETENTION_COMPONENTS`. What is none is refused,"
        f" with the nearest that is.\n\n{table(('component', 'also'), rows)}"
    )


def _takes(field: Field) -> str:
    kind = field.kind
    return ", ".join(["`>` `<` ranges"] * kind.is_ordered + ["`x*`"] * kind.has_prefixes)


def _others(field: Field) -> str:
    return ", ".join(map(code, field.aliases))
