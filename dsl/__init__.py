"""The language: documents, commands, expressions, steps, and the executor that runs them.

May import telemetry; never workers or api.
"""
