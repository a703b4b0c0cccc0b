"""Clients that submit orders, send again what was not answered, send twice what was, and cancel some."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

from chaos.client import Answer, Client, NoAnswer
from chaos.monitor import FINAL
from chaos.orders import Order

#: Seconds between two tries of what was not answered.
_PAUSE = 0.2
#: Of how many submissions of a client one is of many orders, and of how many.
_BULK_EVERY, _BULK = 10, 6


class Load:
    """Submits orders from several threads.

    Args:
        client: Of the API.
        orders: Without end.
        has_room: Whether more may be submitted, given how many were accepted so far.
        clients: Threads.
        per_second: Orders a second that each of them submits at most.

    Attributes:
        orders: Every one that was begun.
        troubles: How often there was no answer, by what there was instead.
    """

    def __init__(
        self,
        client: Client,
        orders: Iterator[Order],
        has_room: Callable[[int], bool],
        *,
        clients: int,
        per_second: float,
    ) -> None:
        self._client = client
        self._stream = orders
        self._has_room = has_room
        self._pace = 1 / per_second
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._abandoned = threading.Event()
        self._accepted = 0
        self.orders: list[Order] = []
        self.troubles: dict[str, int] = {}
        self._threads = [
            threading.Thread(target=self._submit_all, name=f"chaos-client-{number}", daemon=True)
            for number in range(clients)
        ]
        self._cancellers: list[threading.Timer] = []

    @property
    def accepted(self) -> int:
        """Orders that were answered with an execution."""
        return self._accepted

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; what was begun goes on until it is answered."""
        self._stopping.set()

    def settle(self, within: float) -> bool:
        """Wait until everything that was begun is answered; whether it was."""
        for group in (self._threads, self._cancellers):  # clients make cancellers: those end first
            for thread in list(group):
                if thread.ident is not None:
                    thread.join(within)
        return not any(thread.is_alive() for thread in (*self._threads, *self._cancellers))

    def abandon(self) -> None:
        """End at once, answered or not; idempotent."""
        self._stopping.set()
        self._abandoned.set()
        for timer in self._cancellers:
            timer.cancel()
        self.settle(30.0)

    def _submit_all(self) -> None:
        for number in count(1):
            if self._stopping.wait(self._pace):
                return
            if not self._has_room(self._accepted):
                continue
            many = number % _BULK_EVERY == 0
            with self._lock:
                orders = list(islice(self._stream, _BULK if many else 1))
                self.orders.extend(orders)
            if many:
                self._submit_bulk(orders)
            else:
                self._submit(orders[0])
            for order in orders:
                self._follow(order)

    def _submit(self, order: Order) -> None:
        path, headers = f"/api/commands/{order.recipe.slug}/executions", {"Idempotency-Key": order.token}
        for _ in range(2 if order.twice else 1):
            answer = self._insist("POST", path, _asked(order), headers)
            if answer is None:
                return
            if not answer.is_good:
                order.refusals.append(answer.status)
                return
            order.ids.append(answer.body["id"])
            order.replays += answer.headers.get("idempotent-replay") == "true"

    def _submit_bulk(self, orders: Sequence[Order]) -> None:
        """All of them in one request, under keys of their own; the first says whether once more."""
        items = [{"command": order.recipe.slug, "idempotency_key": order.token, **_asked(order)} for order in orders]
        for _ in range(2 if orders[0].twice else 1):
            answer = self._insist("POST", "/api/executions/bulk", {"items": items})
            if answer is None:
                return
            if not answer.is_good:
                for order in orders:
                    order.refusals.append(answer.status)
                return
            for order, verdict in zip(orders, answer.body["items"], strict=True):
                order.replays += verdict["verdict"] == "replayed"
                if verdict["id"] is None:
                    order.refusals.append(verdict["status"])
                else:
                    order.ids.append(verdict["id"])

    def _follow(self, order: Order) -> None:
        """Count one that was accepted, and cancel it when its time has come."""
        if not order.ids:
            return
        with self._lock:
            self._accepted += 1
        if order.cancel_after is not None:
            timer = threading.Timer(order.cancel_after, self._cancel, [order])
            timer.daemon = True
            self._cancellers.append(timer)
            timer.start()

    def _cancel(self, order: Order) -> None:
        order.cancelled_id = order.ids[0] if order.recipe.cancelled == "itself" else self._kid_of(order.ids[0])
        if order.cancelled_id is None:
            return
        answer = self._insist("POST", f"/api/executions/{order.cancelled_id}/cancel")
        if answer is not None:
            order.cancel_answers.append(answer.status)

    def _kid_of(self, parent: str) -> str | None:
        """The execution that one waits for, as soon as it does; none if it ends without."""
        while (shown := self._insist("GET", f"/api/executions/{parent}")) is not None and shown.is_good:
            page = self._insist("GET", f"/api/executions?correlation_id={shown.body['correlation_id']}")
            if page is not None and page.is_good:
                kids = [each["id"] for each in page.body["items"] if each["parent_id"] == parent]
                if kids or shown.body["state"] in FINAL:
                    return kids[0] if kids else None
            self._abandoned.wait(_PAUSE)
        return None

    def _insist(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer | None:
        """Ask until there is an answer; none when it is abandoned."""
        while not self._abandoned.is_set():
            try:
                return self._client.ask(method, path, body, headers)
            except NoAnswer as trouble:
                with self._lock:
                    self.troubles[str(trouble)] = self.troubles.get(str(trouble), 0) + 1
                self._abandoned.wait(_PAUSE)
        return None


def _asked(order: Order) -> dict[str, Any]:
    """What a submission of it holds."""
    inputs = {"token": order.token} if order.is_valid else {"tokn": order.token}
    return {"inputs": inputs, "dry_run": order.recipe.dry}
