"""Every error as an RFC 9457 problem: the only place that knows which status, title and type URI an error has.

WeirError
`- RequestError
   |- RequestInvalid(faults)   body or query is well-formed and still wrong
   |- BodyMalformed            the body is not JSON
   |- MediaTypeRefused         the body is said to be something else than JSON
   |- CursorInvalid            not a cursor of this list
   |- CrossSite                a page of another site asks
   |- IdMalformed              an address has something else where an id belongs
   |- Stale                    the thing is no longer what the caller says it is
   |- TooManyStreams           as many are open as may be
   `- TooManyQuestions         as many are answered as may be at a time
`- NotReady(checks)         something this process needs is away

`docs/reference/problems.md` is `reference()`; a test keeps them together. One long file, because it is one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dsl.errors import Fault
from telemetry.errors import FilterInvalid, WeirError

if TYPE_CHECKING:
    from dsl.validation import Report

#: Where the type URIs lead; the API serves the same text there.
TYPE_BASE = "/docs/problems"

MEDIA_TYPE = "application/problem+json"

#: Seconds a caller should wait before it repeats what met a server that was away.
RETRY_AFTER_S = 2


class RequestError(WeirError):
    """The request itself cannot be served as it is."""

    code = "request"


class RequestInvalid(RequestError):
    """The body or the query parameters are not what the operation takes; all faults."""

    code = "request.invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults[:3]) or "the request is not valid")
        self.faults = tuple(faults)


class BodyMalformed(RequestError):
    """The body is not the JSON it says it is."""

    code = "request.malformed"


class MediaTypeRefused(RequestError):
    """The body is not said to be JSON."""

    code = "request.media_type"


class CursorInvalid(RequestError):
    """The cursor was not made by this list."""

    code = "request.cursor_invalid"


class CrossSite(RequestError):
    """A browser asks on behalf of a page of another site."""

    code = "request.cross_site"


class IdMalformed(RequestError):
    """An address has something else where an id belongs."""

    code = "request.id_malformed"


class Stale(RequestError):
    """What is to be changed is no longer, or not, as the caller's `If-Match` says."""

    code = "request.stale"


class TooManyStreams(WeirError):
    """As many streams are open as this process may hold."""

    code = "stream.too_many"
    retryable = True


class TooManyQuestions(WeirError):
    """As many questions to telemetry are being answered as this process takes at a time."""

    code = "telemetry.busy"
    retryable = True


class NotReady(WeirError):
    """Something this process needs is away or out of date.

    Attributes:
        checks: What was looked at, by name: `ok`, or what is wrong.
    """

    code = "not_ready"
    retryable = True

    def __init__(self, checks: Mapping[str, str]) -> None:
        wrong = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
        super().__init__("; ".join(wrong), hint="`weir status` shows what runs.")
        self.checks = dict(checks)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        code: Of the error; the type URI ends in it.
        status: HTTP status.
        title: The same for every occurrence.
        meaning: When it happens.
        remedy: What to do about it.
    """

    code: str
    status: int
    title: str
    meaning: str
    remedy: str

    @property
    def type(self) -> str:
        return f"{TYPE_BASE}#{self.code}"


_LATER = "Wait for `Retry-After` seconds and send the same request again."
_RUN_ONLY = "Seen in `error` of an execution or step, not as an answer. "
_EXPORT_ONLY = "Seen in `error` of an export, not as an answer. "

#: In the order of the reference page.
KINDS: tuple[Kind, ...] = (
    Kind("request.malformed", 400, "Body is not JSON", "The body could not be read as JSON: a syntax error, a key given"
         " twice, a number or a nesting without bounds.", "Send one JSON object in UTF-8."),
    Kind("request.cursor_invalid", 400, "Cursor is not valid", "`cursor` was not made by this list.",
         "Take `next_cursor` of the page before, unchanged, with the same filters; or leave it out to start again."),
    Kind("request.cross_site", 403, "Not for other sites", "A browser sent the request for a page of another site: by"
         " `Sec-Fetch-Site` or by `Origin`.", "Ask from a program, or from a page of the same address."),
    Kind("request.media_type", 415, "Body of another kind", "The body came without a `Content-Type` that the"
         " operation takes: nearly everywhere `application/json`.", "Send the header; curl does with `--json`."),
    Kind("request.too_large", 413, "Body is too large", "The body has more bytes than `WEIR_API_MAX_BODY_BYTES`.",
         "Send less at a time, or raise the setting."),
    Kind("request.address_too_long", 414, "Address is too long", "Method, path and parameters together have more than"
         " 8,190 bytes, as they are sent: of what is percent-encoded, each byte takes three.",
         "Ask for less in one request; a filter of 2,000 ASCII characters always has room."),
    Kind("request.headers_too_large", 431, "Headers are too large", "A header, or all of them, have more bytes than are"
         " read, or there are more than a hundred.", "Send fewer; a cookie that belongs to another program of the same"
         " host may be among them."),
    Kind("request.invalid", 422, "Request is not valid", "A field or query parameter is unknown, missing or has a value"
         " it may not have. `errors` names every one of them.", "Correct what `errors` names."),
    Kind("request.id_malformed", 404, "Not an id", "The address holds something else where an id belongs.",
         "An id is a UUID with hyphens: `0198a000-0000-7000-8000-0000000000aa`."),
    Kind("request.stale", 412, "It is not as you know it", "`If-Match` names another state of it than the one it has:"
         " somebody changed it in the meantime. Nothing was changed.",
         "Get it again, decide again, and send the new `ETag`; or leave `If-Match` out to change it whatever it is."),
    Kind("request", 400, "Request cannot be served", "The request is wrong in a way that has no kind of its own.",
         "Read `detail`."),
    Kind("route.not_found", 404, "No such address", "Nothing is served under this path.",
         "See `/api/openapi.json` for what is."),
    Kind("method.not_allowed", 405, "Method not allowed", "The path exists, with other methods.", "See `Allow`."),
    Kind("http", 400, "Request refused", "The HTTP layer refused the request; `status` says how.", "Read `detail`."),
    Kind("secrets.missing", 422, "Secrets are missing", "The command lists secrets under `requires.secrets` that this"
         " installation does not have.", "Make the command do without; a store for secrets does not exist yet."),
    Kind("command.unknown", 404, "No such command", "No loaded command file has this slug.",
         "`weir commands list` shows all; `weir commands validate` shows why a file does not load."),
    Kind("command.invalid", 422, "Command file has faults", "The file of this command does not load. `errors` names"
         " every fault with its line and column.", "Correct the file; `weir commands validate` checks it."),
    Kind("inputs.invalid", 422, "Inputs are not valid", "The inputs are not what the command declares. `errors` names"
         " every fault.", "Compare with `inputs` of `GET /api/commands/{slug}`."),
    Kind("language", 422, "Command cannot be used", "The command's definition does not allow this.", "Read `detail`."),
    Kind("expression.failed", 422, "Expression failed", _RUN_ONLY + "A template or condition could not be evaluated.",
         "Correct the expression at the place that is named."),
    Kind("expression.limit", 422, "Expression asks for too much", _RUN_ONLY + "A template or condition would take more"
         " work, memory or text than one may.", "Do less in one template, or raise the setting that the hint names."),
    Kind("execution.not_found", 404, "No such execution", "No execution has this id.",
         "`weir executions list` shows the newest."),
    Kind("concurrency.full", 409, "As many as may run", "The command's `concurrency` says `on_full: reject`, and as"
         " many executions with this key as may run have not ended.", "Send it again when one has ended; `Retry-After`"
         " is a guess."),
    Kind("concurrency.key_invalid", 422, "Concurrency key has no value", "The key of the command's `concurrency` cannot"
         " be evaluated for these inputs, or is too long.", "Correct the inputs, or the key."),
    Kind("queue.full", 429, "Lane takes no more", "Too many executions wait in the lane, or the oldest has waited too"
         " long. Nothing was accepted.", "Wait for `Retry-After` seconds and send the same request again."),
    Kind("queue.not_found", 404, "No such lane", "No lane of this name is declared, and nothing waits, runs or works in"
         " one.", "`weir queues list` shows them all."),
    Kind("execution.conflict", 409, "Execution is in another state", "The execution's state does not allow this.",
         "Look at its state first."),
    Kind("execution.dead_letter_handled", 409, "Dealt with already", "The dead letter was requeued or dropped already."
         " `detail` names the execution that follows it.", "Look at that one."),
    Kind("execution", 409, "Execution cannot do this", "The execution as a whole does not allow this.",
         "Read `detail`."),
    Kind("schedule.not_found", 404, "No such schedule", "No schedule has this name or id.",
         "`weir schedules list` shows all; a removed one is found by its id."),
    Kind("schedule.declared", 409, "Schedule is declared", "A command file declares the schedule, and alone changes or"
         " removes it.", "Edit the file; it is read again within seconds. Pausing, running and backfilling work here."),
    Kind("schedule.name_taken", 409, "Name is taken", "Another schedule has this name.", "Take another name."),
    Kind("schedule.backfill_too_large", 422, "Backfill is too large", "The range has more due times than one request"
         " may ask for.", "Ask for a shorter range, then for the next."),
    Kind("schedule", 409, "Schedule cannot do this", "The schedule does not allow this.", "Read `detail`."),
    Kind("fragment.not_found", 404, "No such fragment", "No fragment has this id.",
         "`weir fragments list` shows them."),
    Kind("record.invalid", 422, "Record cannot be stored", "A fragment or note is not what its table can hold.",
         "Correct what `detail` names."),
    Kind("telemetry.trace_not_found", 404, "No such trace", "No stored event carries this id. Events are stored a"
         " moment after they happen, and kept for a limited time.", "Try again in a second; check the id."),
    Kind("telemetry.busy", 503, "Too many questions", "The process answers as many questions to telemetry as it has"
         " connections for: half of `WEIR_DATABASE_POOL`, so that work goes on meanwhile. For a second none became"
         " free.", _LATER),
    Kind("filter.invalid", 422, "Not a filter", "The text of `filter` is not one. `errors` says at which line and"
         " column, what was expected there, and what may be meant.", "See `docs/reference/filters.md`."),
    Kind("metrics.crossed", 422, "Not kept together", "Metrics are kept by operation, by space and by user, never by"
         " two of these.", "Ask for one of them, or count events: `GET /api/telemetry/events?count=true`."),
    Kind("export.not_found", 404, "No such export", "No export has this id, or it has no such file; one whose time is"
         " over (`WEIR_EXPORT_KEEP`) is gone.", "`GET /api/telemetry/exports` lists those there are."),
    Kind("export.not_ready", 409, "Export has no such file yet", "The export is not done, has failed, or has several"
         " files.", "Look at its `state` and its `files`."),
    Kind("export.too_many", 429, "No more exports", "As many exports are kept as may be, or as many bytes"
         " (`WEIR_EXPORT_MAX_JOBS`, `WEIR_EXPORT_MAX_BYTES`).", "Delete one, or wait until its time is over."),
    Kind("export.too_large", 422, "Export is too large", _EXPORT_ONLY + "The next rows would have made its files larger"
         " than they may get. `detail` says how far it came.", "Ask for a shorter time, for compressed files, or for"
         " more `max_bytes`, up to `WEIR_EXPORT_MAX_BYTES_EACH`."),
    Kind("export.changed", 409, "Events were deleted", _EXPORT_ONLY + "Cleanup deleted events before they were"
         " written.", "Ask for it again; what is there now is exported then."),
    Kind("export", 500, "Export failed", _EXPORT_ONLY + "The process that wrote it ended again and again.",
         "Look in the log of the maintenance process; ask for less at a time."),
    Kind("export.unwritable", 503, "Exports have no place", "No folder for exports is known, or it cannot be written.",
         "Set `WEIR_EXPORT_DIR`; free some space."),
    Kind("telemetry.quarantined_not_found", 404, "Not in quarantine", "Nothing in quarantine has this id: it was stored"
         " or dropped, or never was there.", "`weir telemetry quarantine list` shows what is."),
    Kind("telemetry.quarantine_changed", 409, "Quarantine has changed", "By now it would be another number than was"
         " confirmed. Nothing was done.", "Preview it again."),
    Kind("alert.not_found", 404, "No such alert", "No alert has this id.", "`weir alerts list` shows them."),
    Kind("alert.rule_not_found", 404, "No such rule", "No rule of alerts has this name.",
         "`weir alerts rules list` shows them all."),
    Kind("alert.rule_invalid", 422, "Rule cannot be meant", "The words of a rule do not go together; `detail` has each"
         " that is wrong.", "Correct what `detail` names."),
    Kind("alert.rule_declared", 409, "Rule is declared", "`weir.toml` declares the rule, or it is Weir's own; that"
         " alone changes or removes it.", "Edit the file and restart; enabling, disabling and silencing work here."),
    Kind("alert.rule_exists", 409, "Name of a rule is taken", "Another rule has this name.", "Take another name."),
    Kind("alert.silence_not_found", 404, "No such silence", "No silence that holds or will hold has this id.",
         "`weir alerts silences` shows them."),
    Kind("alert.silence_invalid", 422, "Silence cannot be meant", "A silence ends later than it begins and later than"
         " now, and within 31 days.", "Give another end."),
    Kind("alert", 409, "Alerts cannot do this", "Alerts do not allow this.", "Read `detail`."),
    Kind("channel.failed", 502, "Channel did not take it", _RUN_ONLY + "A channel that leaves this machine did not take"
         " the message; it may later.", "Give the step a `retry`; `detail` says how it failed."),
    Kind("channel.refused", 502, "Channel will not take it", _RUN_ONLY + "A channel has no address, one that posts may"
         " not go to, or whoever is there refuses.", "Correct the `WEIR_CHANNEL_...` settings; `detail` says why."),
    Kind("telemetry", 500, "Telemetry failed", "Events could not be kept or read.", "See the log."),
    Kind("telemetry.stream_unavailable", 503, "Telemetry stream is away", "Redis did not answer.", _LATER),
    Kind("store.unavailable", 503, "Postgres is away", "Postgres did not answer. Nothing was accepted.", _LATER),
    Kind("store.too_slow", 503, "Postgres takes too long", "A statement took longer than `WEIR_API_STATEMENT_TIMEOUT`,"
         " most often waiting for a row that a running command holds; or it and another waited for each other. Nothing"
         " was changed. Or comparing events with rows took 20 s, or reading them longer than"
         " `WEIR_TELEMETRY_QUERY_TIMEOUT`.",
         _LATER + " Ask for a shorter time, or ask `weir telemetry verify`."),
    Kind("store.schema_out_of_date", 503, "Schema does not fit this program", "The database's schema is older or newer"
         " than the program.", "`weir migrate --status` says which; run `weir migrate`, or upgrade the program."),
    Kind("queue.unavailable", 503, "Queue is away", "Redis did not take a message.", _LATER),
    Kind("stream.too_many", 503, "Too many streams", "The process holds as many streams of events open as"
         " `WEIR_API_STREAMS` allows.", "Wait for `Retry-After` seconds, or ask for the pages: `GET"
         " /api/executions/{id}/steps` with `Prefer: wait`."),
    Kind("not_ready", 503, "Not ready", "`/readyz` found something missing; `checks` says what.",
         "`weir status` shows what runs."),
    Kind("settings.invalid", 500, "Settings are wrong", "The process was started with settings that are wrong.",
         "See `docs/reference/settings.md`."),
    Kind("step.failed", 422, "Step failed", _RUN_ONLY + "The step found that its input does not allow it to succeed.",
         "Read the message; it is the step's own."),
    Kind("step.timed_out", 422, "Step timed out", _RUN_ONLY + "The step took longer than it may.",
         "Raise its `timeout`, or give it less to do."),
    Kind("ledger", 500, "Run was stopped", _RUN_ONLY + "Nothing more of the run could be kept.", "See the log."),
    Kind("execution.key_reused", 409, "Key used already", "The `Idempotency-Key` was used for another submission of"
         " this command, or to run an execution of it again.", "Send a new key for a new request."),
    Kind("ledger.stopped", 409, "Run was ended", _RUN_ONLY + "The execution was cancelled, or ran out of time.",
         "See its state."),
    Kind("step.child_failed", 422, "Other command failed", _RUN_ONLY + "A command that the step waited for did not"
         " succeed.", "Look at that execution; the error names it."),
    Kind("step.interrupted", 422, "Step interrupted", _RUN_ONLY + "Its execution had to stop while the step ran.",
         "Nothing, if you cancelled it; else raise the command's `timeout`."),
    Kind("execution.timed_out", 422, "Command timed out", _RUN_ONLY + "The command ran longer than its `timeout`.",
         "Raise its `timeout`, or give it less to do."),
    Kind("execution.expired", 422, "Not begun in time", _RUN_ONLY + "No worker took it before its time was up.",
         "Submit it again, with more time; see why its lane is behind."),
    Kind("execution.step_not_found", 422, "No such step", "The command has no step with the id that was named.",
         "Take one of those that are named."),
    Kind("ledger.suspended", 503, "Run goes on later", _RUN_ONLY + "The attempt ended, the execution did not.",
         "Wait: it is queued again."),
    Kind("execution.worker_lost", 500, "Worker lost", _RUN_ONLY + "The process that ran it was killed again and again.",
         "Look at its last step: it exhausts or crashes its process."),
    Kind("ledger.fence_lost", 409, "Another worker has the execution", _RUN_ONLY + "Another claim owns the execution.",
         "Nothing; the other run goes on."),
    Kind("ledger.broken", 500, "Ledger refused a row", _RUN_ONLY + "Postgres refused a row of the step ledger.",
         "The log has the particulars; run the command again when the cause is gone."),
    Kind("ledger.unavailable", 503, "Run lost Postgres", _RUN_ONLY + "Postgres went away in the middle of a run.",
         "Wait: what is committed stays, and the rest runs once Postgres is back."),
    Kind("internal", 500, "Internal error", "Something went wrong that Weir did not foresee. The answer says nothing of"
         " it; the API's log does, under the `X-Correlation-ID` of the answer.", "Look in the log, and report it."),
)  # fmt: skip

#: Of other statuses, those that a wait helps.
_PASSING = ("concurrency.full",)

_BY_CODE = {kind.code: kind for kind in KINDS}
_INTERNAL = _BY_CODE["internal"]
_BY_STATUS = {
    HTTPStatus.NOT_FOUND: "route.not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method.not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request.too_large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "request.address_too_long",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "request.media_type",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "request.headers_too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "request.invalid",
}

#: Of these the HTTP layer has nothing to say but a sentence of its own, which knows neither our addresses nor limits.
_SAID_BY_KIND = (
    "route.not_found",
    "method.not_allowed",
    "request.too_large",
    "request.address_too_long",
    "request.headers_too_large",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer: its status, JSON body and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def kind_of(error: type[WeirError]) -> Kind:
    """The kind of an error class, or of the nearest ancestor that has one."""
    for ancestor in error.__mro__:
        kind = _BY_CODE.get(str(getattr(ancestor, "code", "")))
        if kind is not None:
            return kind
    return _INTERNAL


def of_error(error: WeirError) -> Problem:
    """The answer to an error Weir raised on purpose; what is internal says nothing of itself."""
    kind = kind_of(type(error))
    if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal()
    body = _body(kind, kind.status, error.detail, error.hint)
    faults = getattr(error, "faults", ()) or _fault_of_filter(error) or _fault_of_field(error)
    if faults:
        body["errors"] = [fault_json(fault) for fault in faults]
    if isinstance(error, NotReady):
        body["checks"] = error.checks
    return Problem(kind.status, body, {"Retry-After": str(RETRY_AFTER_S)} if _passes(kind) else {})


def _passes(kind: Kind) -> bool:
    """Whether the same request may be answered otherwise soon."""
    return kind.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS} or kind.code in _PASSING


def of_status(status: int, detail: str) -> Problem:
    """The answer to what the HTTP layer refused (no route, wrong method, too large)."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal()
    kind = _BY_CODE[_BY_STATUS.get(HTTPStatus(status), "http")]
    if kind.code in _SAID_BY_KIND:
        return Problem(status, _body(kind, status, kind.meaning, kind.remedy), {})
    return Problem(status, _body(kind, status, detail, None), {})


def internal() -> Problem:
    """The answer to what nobody foresaw."""
    detail = "The server met an error it did not foresee; its log has the particulars."
    return Problem(_INTERNAL.status, _body(_INTERNAL, _INTERNAL.status, detail, None), {})


def _fault_of_field(error: WeirError) -> Sequence[Fault]:
    field = error.facts.get("field")
    return (Fault(error.code, error.detail, path=field),) if isinstance(field, str) else ()


def _fault_of_filter(error: WeirError) -> Sequence[Fault]:
    if not isinstance(error, FilterInvalid):
        return ()
    where, found = ("filter", error.line, error.column), (None, error.expected, error.nearest)
    return (Fault(error.code, error.detail, *where, *found),)


def fault_json(fault: Fault) -> dict[str, Any]:
    """A fault without what is not known of it; `code`, `message` and `path` are always there."""
    return {name: value for name, value in asdict(fault).items() if value is not None}


def report_json(report: Report, source: str) -> dict[str, Any]:
    """What is said of a command file, wherever it is said.

    Args:
        report: What was found.
        source: What a person calls the file.
    """
    return {
        "source": source,
        "slug": report.slug,
        "errors": [fault_json(fault) for fault in report.faults],
        "warnings": [fault_json(fault) for fault in report.warnings],
        "in_place_of": None if report.in_place_of is None else f"{report.slug} (pack)",
    }


def _body(kind: Kind, status: int, detail: str, hint: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": status,
        "detail": detail,
        "code": kind.code,
    }
    if hint:
        body["hint"] = hint
    return body


def reference() -> str:
    """The reference page of all problems, in Markdown."""
    lines = [
        "# Problems",
        "",
        "*Generated from `api/problems.py`.*",
        "",
        "Every error of the REST API is a problem of [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457),",
        f"`{MEDIA_TYPE}`:",
        "",
        "| field | what it is |",
        "|---|---|",
        f"| `type` | `{TYPE_BASE}#` and the code; a section of this page |",
        "| `title` | the same for every occurrence of a code |",
        "| `status` | the HTTP status |",
        "| `detail` | what is wrong this time, in a sentence |",
        "| `code` | a stable name, for programs |",
        "| `hint` | what to do next, where that is known |",
        "| `errors` | every single fault: `code`, `message`, `path`, and where known `line`, `column`, `found`, "
        "`expected`, `nearest` |",
        "",
        f"Answers with status 429 or 503, and `concurrency.full`, carry `Retry-After: {RETRY_AFTER_S}`.",
        "Every answer carries `X-Correlation-ID`, except those to requests whose headers were not read to their end",
        "(414, 431).",
        "",
    ]
    for kind in KINDS:
        lines += [f"## {kind.code}", "", f"**{kind.status} {kind.title}.** {kind.meaning}", "", kind.remedy, ""]
    return "\n".join(lines)
