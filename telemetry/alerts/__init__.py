"""Alerts: rules about figures, what state each is in, who is told of it, and where all of that is kept.

What decides (`rule`, `states`, `policy`, `windows`) is pure. What measures and stores takes a connection. Telling
people is for others: this package knows names of channels, never how they are reached.
"""
