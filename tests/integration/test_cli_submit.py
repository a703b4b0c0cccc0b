"""`weir executions submit`: files of any length, sent a thousand lines at a time, and sent again without harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures.apis import Weir
from psycopg import Connection

from api.cli.submit import Line, Sending, keyed
from api.cli.terminal import Terminal
from api.client import Answer, ApiRefused, ApiUnreachable, Client


def accepted(connection: Connection[Any]) -> int:
    (found,) = connection.execute("select count(*) from command_executions").fetchone() or (0,)
    return int(found)


def todo(body: str, **fields: object) -> str:
    return json.dumps({"command": "todo.add", "inputs": {"body": body}, **fields})


def write(name: str, *lines: str) -> str:
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return name


def test_a_file_is_sent_in_thousands_and_sent_again_without_harm(weir: Weir, connection: Connection[Any]) -> None:
    lines = [todo(str(number // 2)) for number in range(2100)]  # each of them twice
    file = write("todos.jsonl", *lines)

    first = weir("executions", "submit", file)
    again = weir("executions", "submit", file)
    mended = weir("executions", "submit", write("todos.jsonl", todo("new"), *lines[3:]))
    other = weir("executions", "submit", write("todos.jsonl", *lines[:2]), "--batch", "tomorrow")

    assert (first.code, first.out) == (0, "2,100 lines: 2,100 accepted, 0 accepted before, 0 refused\n")
    assert again.out == "2,100 lines: 0 accepted, 2,100 accepted before, 0 refused\n"
    assert mended.out == "2,098 lines: 1 accepted, 2,097 accepted before, 0 refused\n"
    assert other.out == "2 lines: 2 accepted, 0 accepted before, 0 refused\n"
    assert accepted(connection) == 2103


def test_lines_that_are_refused_are_named_and_lose_no_other(weir: Weir, connection: Connection[Any]) -> None:
    file = write(
        "todos.jsonl",
        todo("one"),
        "{no JSON",
        "",
        todo("two", priority=10),
        '["a list"]',
        '{"command": "todo.add", "inputs": {"body": NaN}}',
        r'{"command": "todo.add", "inputs": {"body": "\ud800"}}',
        '{"command": "todo.ad"}',
        '{"inputs": {"body": "three"}}',
        todo("four", user="ada"),
    )

    typed = weir("executions", "submit", file, "--command", "todo.add", "--user", "grace", "--format", "json")

    assert typed.code == 1
    assert {name: typed.json[name] for name in ("accepted", "replayed", "refused")} == {
        "accepted": 3,
        "replayed": 0,
        "refused": 6,
    }
    verdicts = {item["line"]: item["verdict"] for item in typed.json["items"]}
    assert verdicts == {1: "accepted", **dict.fromkeys((2, 4, 5, 6, 7, 8), "refused"), 9: "accepted", 10: "accepted"}
    assert "line 2: the line is not JSON" in typed.err
    assert "line 8: " in typed.err
    assert "(command.unknown)" in typed.err
    users = connection.execute("select user_name from command_executions order by run_at").fetchall()
    assert users == [("grace",), ("grace",), ("ada",)]


def test_the_columns_of_a_csv_are_inputs(weir: Weir, connection: Connection[Any]) -> None:
    file = write("todos.csv", "body,tags", 'one,"[""a"", ""b""]"', "two,", '"more\nlines",', "too,many,columns")

    typed = weir("executions", "submit", file, "--command", "todo.add")
    without = weir("executions", "submit", file)

    assert (typed.code, without.code) == (1, 2)
    assert typed.out == "4 lines: 3 accepted, 0 accepted before, 1 refused\n"
    assert "line 6: the line has more columns than the first (request.malformed)" in typed.err
    inputs = [each for (each,) in connection.execute("select inputs from command_executions order by run_at")]
    assert [given["body"] for given in inputs] == ["one", "two", "more\nlines"]
    assert inputs[0]["tags"] == ["a", "b"]


class Flaky(Client):
    """An API that fails before it answers, and refuses requests of more than two items as too large."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("http://127.0.0.1:1")
        self.failures = list(failures)
        self.sent: list[list[str]] = []

    def post(self, path: str, body: Any, *, headers: Any = None, wait_s: int = 0) -> Answer:  # noqa: ANN401
        keys = [item["idempotency_key"] for item in body["items"]]
        self.sent.append(keys)
        if self.failures:
            raise self.failures.pop(0)
        if len(keys) > 2:
            raise ApiRefused(413, {"code": "request.too_large", "title": "Too large"})
        item = {"verdict": "accepted", "status": 202, "id": "x", "location": "x", "problem": None}
        return Answer(200, {"items": [item for _ in keys]}, {})


def lines(count: int) -> list[Line]:
    return list(keyed((Line(number, {"command": str(number)}) for number in range(1, count + 1)), ""))


def test_what_the_server_could_not_serve_is_sent_again_under_the_same_keys() -> None:
    client = Flaky(ApiRefused(503, {"code": "store.unavailable"}), ApiUnreachable("cut off"))
    pauses: list[float] = []

    verdicts = list(Sending(client, Terminal(), pauses.append).run(lines(2)))

    assert [verdict["line"] for verdict in verdicts] == [1, 2]
    assert (client.sent[0], len(pauses)) == (client.sent[2], 2)


def test_it_gives_up_in_the_end_and_at_once_when_the_request_itself_is_wrong() -> None:
    for failure, tries in ((ApiUnreachable("cut off"), 5), (ApiRefused(403, {"code": "request.cross_site"}), 1)):
        client = Flaky(*[failure] * 10)
        with pytest.raises(type(failure)):
            list(Sending(client, Terminal(), lambda _: None).run(lines(1)))
        assert len(client.sent) == tries


def test_what_is_too_large_for_one_request_is_sent_in_halves() -> None:
    client = Flaky()

    verdicts = list(Sending(client, Terminal()).run(lines(7)))

    assert [verdict["line"] for verdict in verdicts] == list(range(1, 8))


def test_a_key_is_of_what_a_line_says_and_of_how_often_it_was_said() -> None:
    given = [Line(1, {"command": "a"}), Line(2, {"command": "b"}), Line(3, {"command": "a"}), Line(4, None, "no JSON")]

    keys = [line.item and line.item["idempotency_key"] for line in keyed(given, "")]
    moved = [line.item and line.item["idempotency_key"] for line in keyed([given[1], given[0], given[2]], "")]
    other = [line.item and line.item["idempotency_key"] for line in keyed(given[:1], "other")]
    (own,) = keyed([Line(1, {"command": "a", "idempotency_key": "mine"})], "")

    assert len(set(keys)) == 4
    assert {*moved} == {*keys} - {None}
    assert other[0] not in keys
    assert own.item == {"command": "a", "idempotency_key": "mine"}
