"""Weir beside DBOS, Celery and OpenTelemetry, in one run, on the same servers: `make bench-peers`.

Their packages live in an environment of their own, `.venv-peers`: never in Weir's, nor in its lock. What imports them
(`dbos_worker`, `dbos_driver`, `celery_app`, `celery_driver`, `otel_driver`) runs there and imports nothing of Weir; the
harness, which runs where Weir does, talks to the drivers over pipes (`answering`).
"""
