"""What happened, when, and where it is kept: events, recorder, stream, sink, store, query.

The bottom layer: imports nothing of dsl, workers or api.
"""
