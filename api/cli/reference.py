"""The reference page of the command line, made from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from api.cli.main import weir

_INTRODUCTION = """\
# The command line

*Generated from the commands themselves.*

`weir` talks to the REST API: to `WEIR_URL` if that is set, else to the stack that `weir up` started on this machine,
else to http://127.0.0.1:7420. Only `up`, `down`, `status`, `migrate`, `serve`, `health`, `demo` and `commands
new|validate|test|schema` and `steps` do without it. Lists and single things are shown as a table by default;
`--format json` prints exactly what the REST API answers (`{"items": [...], "next_cursor": ...}` for a list),
`--format csv` one line an item. Colours are only for a terminal, and `NO_COLOR` turns them off.

| exit code | meaning |
|---|---|
| 0 | it worked |
| 1 | it did not, for a reason said on standard error: nothing is up, a fault in a file, a failed execution |
| 2 | the command line itself was wrong |
| 3 | an error nobody foresaw; its traceback is in `logs/cli-error.log` of the home |
| 130 | interrupted with Ctrl-C |
"""


def reference(examples: str) -> str:
    """The page, in Markdown.

    Args:
        examples: A section that comes before those of the commands.
    """
    return "\n".join([_INTRODUCTION, examples, *_sections(weir, "weir", None)])


def _sections(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    with click.Context(command, parent=parent, info_name=path.rpartition(" ")[2]) as context:
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None and not inner.hidden:
                    yield from _sections(inner, f"{path} {name}", context)
        else:
            yield from _section(command, path, context)


def _section(command: click.Command, path: str, context: click.Context) -> Iterator[str]:
    yield f"## {path}\n"
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield f"    {usage}\n"
    yield f"{_paragraphs(command.help or '')}\n"
    options = [option for option in command.params if isinstance(option, click.Option) and option.name != "help"]
    rows = [_row(option, context) for option in options]
    if rows:
        yield "| option | what it does |\n|---|---|\n" + "\n".join(rows) + "\n"


def _row(option: click.Option, context: click.Context) -> str:
    shown, _ = option.get_help_record(context) or ("", "")
    shown = shown.replace(" RANGE", "").replace("|", "\\|")
    facts = option.get_help_extra(context)
    default = f" Default: {facts['default']}." if "default" in facts else ""
    limits = f" ({facts['range']})" if "range" in facts else ""
    return f"| `{shown}` | {option.help or ''}{limits}{default} |"


def _paragraphs(text: str) -> str:
    """Help texts are wrapped for the source; here each paragraph is one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
