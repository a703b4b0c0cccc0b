"""Samples: events as a small team's installation would have made them, from a seed. Pure; no I/O.

`shapes` says what there is, `chance` what is random, `traces` makes the events of one request, conversation or due
time, `plan` spreads them over days and hours, `generator` puts it together. `telemetry.sampling` stores them.
"""
