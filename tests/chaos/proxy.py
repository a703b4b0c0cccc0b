"""Links: TCP addresses in front of servers, which can refuse, hang, reset, or swallow answers.

All links of a run share one thread with one event loop. A link relays bytes and knows nothing of what they mean.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal, Self, TypeVar, cast

T = TypeVar("T")

#: What a cut does to a link. refuse: what is open is reset, what comes is refused. hang: nothing passes, nothing is
#: closed. deaf: requests arrive, answers do not; at the end all is reset, so that they never will. reset: what is open.
Cut = Literal["refuse", "hang", "deaf", "reset"]

CUTS: tuple[Cut, ...] = ("refuse", "hang", "deaf", "reset")

#: Connections that may wait to be accepted: more than all processes of a stack open.
_BACKLOG = 512
#: Seconds that the loop may take for one order.
_PATIENCE = 10.0
#: Close without a farewell: the peer reads "connection reset".
_AT_ONCE = struct.pack("ii", 1, 0)


class _End(asyncio.Protocol):
    """One end of a relayed connection."""

    def __init__(self, link: Link, *, answers: bool) -> None:
        self._link = link
        self.answers = answers
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._link.ends.add(self)
        self.obey()

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.obey()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.ends.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def obey(self) -> None:
        """Read or not, as the link's present cut has it."""
        if self.transport is None or self.transport.is_closing():
            return
        silent = self._link.cut == "hang" or (self._link.cut == "deaf" and self.answers)
        if silent:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def reset(self) -> None:
        """Let the peer read "connection reset"."""
        if self.transport is not None:
            with suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()


class Link:
    """One address in front of one server. Made by `Links.open`; its methods but `order` run in the loop's thread.

    Attributes:
        port: On loopback; stays bound, and so ours, while connections are refused.
        cut: What it suffers now.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Callable[[], tuple[str, int]]) -> None:
        self._loop = loop
        self._upstream = upstream
        self.ends: set[_End] = set()
        self.cut: Cut | None = None
        self._waiting: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = _bound()
        self.port: int = self._listener.getsockname()[1]

    async def listen(self) -> None:
        """Begin."""
        self._listener.listen(_BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    async def begin(self, cut: Cut) -> None:
        """Cut it."""
        if cut in ("refuse", "reset"):
            self._reset()
        if cut == "reset":
            return
        self.cut = cut
        if cut == "refuse":
            self._loop.remove_reader(self._listener)
            # On Linux a listener that is shut down listens no more and keeps its port.
            self._listener.shutdown(socket.SHUT_RDWR)
        for end in self.ends:
            end.obey()

    async def mend(self) -> None:
        """Let everything pass again; idempotent."""
        cut, self.cut = self.cut, None
        if cut == "deaf":
            self._reset()
        if cut == "refuse":
            await self.listen()
        for end in self.ends:
            end.obey()
        waiting, self._waiting = self._waiting, []
        for accepted in waiting:
            self._relay(accepted)

    async def close(self) -> None:
        """End everything."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for accepted in self._waiting:
            accepted.close()
        self._reset()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:  # it went before we looked
            return
        accepted.setblocking(False)
        if self.cut == "hang":
            self._waiting.append(accepted)
        else:
            self._relay(accepted)

    def _relay(self, accepted: socket.socket) -> None:
        task = self._loop.create_task(self._connect(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        asking, answering = _End(self, answers=False), _End(self, answers=True)
        asking.other, answering.other = answering, asking
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.create_connection(lambda: answering, *self._upstream())
        except OSError:  # the server is down: so is what asked for it
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            accepted.close()
            return
        await self._loop.connect_accepted_socket(lambda: asking, accepted)

    def _reset(self) -> None:
        for end in list(self.ends):
            end.reset()


def _bound() -> socket.socket:
    """A socket on a port that it keeps when it listens no more: one that it asked for by number."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        bound = socket.socket()
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:  # somebody was faster
            bound.close()
        else:
            return bound


class Links:
    """The thread in which all links live; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-links", daemon=True)
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            self._run(link.close())
        self._run(_finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self, upstream: Callable[[], tuple[str, int]]) -> Link:
        """A link to the server whose host and port `upstream` says whenever somebody connects."""
        link = Link(self._loop, upstream)
        self._links.append(link)
        self._run(link.listen())
        return link

    def begin(self, link: Link, cut: Cut) -> None:
        """Cut a link."""
        self._run(link.begin(cut))

    def mend(self, link: Link) -> None:
        """Mend a link; idempotent."""
        self._run(link.mend())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)


async def _finish() -> None:
    """Let what was begun come to its end, so that nothing is left open without an owner."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)
