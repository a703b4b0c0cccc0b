"""Events written to files: which (`request`), from where (`sources`), how they look (`forms`), how far (`journal`).

`Export` in `writing` does it, from the command line and in the background alike. May import what telemetry may.
"""
