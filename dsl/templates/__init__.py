"""Liquid as Weir speaks it: grammar, filters, patterns, what a template refers to. `dsl.expressions` is the door."""
