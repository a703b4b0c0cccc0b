"""Words that say which metrics are meant: as `telemetry.rollups` has them, which is not imported for --help."""

from __future__ import annotations

import click

from api.cli.options import together

WIDTHS = ("minute", "hour", "day")
DIMENSIONS = ("operation", "space", "user")
MEASURES = ("duration", "queue_wait", "context", "model", "prompt_tokens", "completion_tokens", "cache_hit")
TYPES = (
    *("request_rate", "total_latency", "context_latency", "llm_latency", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "error_rate", "cache_hit_rate", "latency", "tokens", "errors", "cache", "requests"),
)
AGGREGATIONS = (
    *("minute", "hour", "day", "week", "month"),
    *("minutely", "hourly", "daily", "weekly", "monthly"),
)

#: Names of the options of `which_buckets`.
OF_BUCKETS = ("width", "by", "operation", "measure")
#: What says which buckets, beside what says which events.
which_buckets = together(
    click.option("--width", type=click.Choice(WIDTHS), help="Of metrics: how long a bucket is; an hour unless given."),
    click.option(
        "--by", type=click.Choice(DIMENSIONS), help="Of metrics: what is told apart; operations unless given."
    ),
    click.option("--operation", metavar="NAME", help="Of metrics: only of this command, tool or model."),
    click.option("--measure", type=click.Choice(MEASURES), help="Of metrics: only what was measured of this."),
)
