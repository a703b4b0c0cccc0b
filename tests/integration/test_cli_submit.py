"""`weir executions submit`: files of any length, sent a thousand lines at a time, and sent again without harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fixtures.apis import Api, Weir
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
    doubled = weir("executions", "submit", write("twice.csv", "body,body", "a,b"), "--command", "todo.add")

    assert (typed.code, without.code, doubled.code) == (1, 2, 1)
    assert "line 1: the column body is given twice" in doubled.err
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


class Narrow(Client):
    """An API whose lane has room for a few, and for some more after each pause."""

    def __init__(self, room: int, more: int) -> None:
        super().__init__("http://127.0.0.1:1")
        self.room, self.more = room, more
        self.accepted: list[str] = []
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.room += self.more

    def post(self, path: str, body: Any, *, headers: Any = None, wait_s: int = 0) -> Answer:  # noqa: ANN401
        items = body["items"]
        full = {"code": "queue.full", "title": "Full", "detail": "the lane reports takes no more"}
        if len(items) > self.room:
            item = {"verdict": "refused", "status": 429, "id": None, "location": None, "problem": full}
            return Answer(200, {"items": [item for _ in items]}, {"retry-after": "7"})
        self.room -= len(items)
        self.accepted += [item["idempotency_key"] for item in items]
        item = {"verdict": "accepted", "status": 202, "id": "x", "location": "x", "problem": None}
        return Answer(200, {"items": [item for _ in items]}, {})


def test_what_a_full_lane_does_not_take_waits_for_room_as_long_as_the_server_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Narrow(room=5, more=3)
    sending = Sending(client, Terminal.of_stderr(), client.pause)

    verdicts = list(sending.run(lines(12)))

    assert [verdict["verdict"] for verdict in verdicts] == 12 * ["accepted"]
    assert len(client.accepted) == len(set(client.accepted)) == 12
    assert client.accepted == [line.item and line.item["idempotency_key"] for line in lines(12)]
    assert client.pauses == [7, 7, 7]
    said = capsys.readouterr().err
    assert said == ("the lane reports takes no more; 5 lines of the file are accepted, the others wait for room\n")


def test_a_lane_that_stays_full_stops_it_in_the_end_with_true_counts(capsys: pytest.CaptureFixture[str]) -> None:
    client = Narrow(room=5, more=0)
    sending = Sending(client, Terminal.of_stderr(), client.pause)

    with pytest.raises(ApiRefused) as refused:
        list(sending.run(lines(12)))

    assert (refused.value.status, refused.value.problem["code"]) == (429, "queue.full")
    assert sending.counts == {"accepted": 5, "replayed": 0, "refused": 0}
    assert 200 < sum(client.pauses) <= 300
    assert sending.so_far() == "5 lines of the file are accepted"
    assert capsys.readouterr().err.count("\n") < 15


def test_a_file_goes_through_a_lane_that_is_narrower_than_it(
    weir: Weir, busy_api: Api, connection: Connection[Any]
) -> None:
    busy_api.open("PUT", "/api/queues/default/limits", json={"queued": 6})

    typed = weir("executions", "submit", write("todos.jsonl", *[todo(str(number)) for number in range(20)]))

    assert (typed.code, typed.out) == (0, "20 lines: 20 accepted, 0 accepted before, 0 refused\n")
    assert accepted(connection) == 20


def test_a_lane_that_stays_full_is_said_in_a_line_with_how_to_go_on(
    weir: Weir, busy_api: Api, connection: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.cli.submit._LONGEST_WAIT_S", 1)
    busy_api.post("/api/queues/default/pause", {})
    busy_api.open("PUT", "/api/queues/default/limits", json={"queued": 6})

    typed = weir("executions", "submit", write("todos.jsonl", *[todo(str(number)) for number in range(20)]))

    assert (typed.code, typed.out) == (1, "")
    assert "6 lines of the file are accepted; run it again for the rest.\n" in typed.err
    assert typed.err.count("(queue.full)") == 1
    assert accepted(connection) == 6


def test_cut_off_it_says_of_how_much_nobody_knows() -> None:
    sending = Sending(Flaky(*[ApiUnreachable("cut off")] * 10), Terminal(), lambda _: None)

    with pytest.raises(ApiUnreachable):
        list(sending.run(lines(2)))

    assert sending.so_far() == "0 lines of the file are accepted, and 2 more may be"


def test_a_line_that_is_refused_says_where_and_why_and_what_was_meant(weir: Weir) -> None:
    file = Path("todos.jsonl")
    file.write_bytes(
        b"\n".join(
            (
                b'{"command": "todo.ad"}',
                b'{"command": "todo.add", "inputs": {"bodi": "a"}}',
                b'{"command": "todo.add", "inputs": {"body": "a"}, "priority": 10, "usr": "x"}',
                b'{"command": "todo.add", "inputs": {"body": 99999999999999999999}}',
                b'{"command": "todo.add", "inputs": {"body": "a"}, "expires_in": "0s"}',
                b'{"command": "todo.add", "inputs": {"body": "a", "body": "b"}}',
                b'{"command": "todo.add", "inputs": {"body": NaN}}',
                b'{"command": "\xff"}',
                b'{"command": 1e999}',
            )
        )
    )

    typed = weir("executions", "submit", str(file))

    said = dict(line.split(": ", 1) for line in typed.err.splitlines())
    assert said["line 1"] == "there is no command todo.ad; did you mean todo.add? (command.unknown)"
    assert "did you mean body?" in said["line 2"]
    assert "priority: " in said["line 3"]
    assert "did you mean user?" in said["line 3"]
    assert said["line 4"].startswith("inputs.body: the whole number is out of range; expected at most 64 bits (")
    assert "expected more than nothing, at most 366 days" in said["line 5"]
    assert "the key 'body' is given twice" in said["line 6"]
    assert "NaN is not a JSON number" in said["line 7"]
    assert "is not UTF-8 at byte 13" in said["line 8"]
    assert "number out of range" in said["line 9"]
    assert typed.out.endswith("9 refused\n")


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
