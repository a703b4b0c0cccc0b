"""Records spans with OpenTelemetry's SDK: `python -m benchmarks.peers.otel_driver`, asked as `answering` says.

The usual set-up: a `BatchSpanProcessor` as it comes but for its queue, and the OTLP exporter (protobuf over HTTP) to
`otlp_sink`, in a process of its own. The queue holds all spans of a round, so that none is dropped: as it comes it
holds 2,048 and drops the rest of a burst.

- `record`: microseconds a span, of the median burst on the caller, and of CPU in all threads until everything is
  exported. A span has a name, a start, an end, and the facts that one event of Weir has as attributes.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter_ns, process_time_ns

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.peers.answering import serve

#: Spans that are timed together, so that reading the clock does not count.
_BURST = 10
_QUEUE = 1 << 20
_EXPORTED_WITHIN_MS = 60_000
_IDS = {"correlation_id": "0" * 32, "execution_id": "1" * 32, "definition_hash": "2" * 32, "user_id": "3" * 32}
_SCOPE = {**_IDS, "command_slug": "todo.add", "request_source": "api", "dry_run": False, "attempt": 1}


class Recording:
    """A tracer whose spans go to an endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "bench"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint), max_queue_size=_QUEUE))
        self._tracer: Tracer = self._provider.get_tracer("bench")

    def measure(self, count: int) -> list[float]:
        """Record so many spans: on the caller, and in CPU of all threads; microseconds each.

        Raises:
            RuntimeError: They could not be exported in time.
        """
        bursts = []
        cpu_ns = process_time_ns()
        for _ in range(count // _BURST):
            begun = perf_counter_ns()
            for _ in range(_BURST):
                facts = {"path": "triage[17].note", "type": "transform", "duration_us": 1234, "tries": 1, "rows": 3}
                self._tracer.start_span("step_executed", attributes={**_SCOPE, **facts}).end()
            bursts.append(perf_counter_ns() - begun)
        if not self._provider.force_flush(_EXPORTED_WITHIN_MS):
            raise RuntimeError("the spans were not exported in time")
        return [median(bursts) / _BURST / 1000, (process_time_ns() - cpu_ns) / count / 1000]


if __name__ == "__main__":
    with subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-m", "benchmarks.peers.otlp_sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sink:
        if sink.stdout is None:
            raise RuntimeError("the sink has no pipe")
        recording = Recording(f"http://127.0.0.1:{int(sink.stdout.readline())}/v1/traces")
        serve({"record": recording.measure})
