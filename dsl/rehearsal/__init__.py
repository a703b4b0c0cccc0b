"""Rehearsals: a command run by the real executor, given outputs in place of its effects, and what is expected."""
