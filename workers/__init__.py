"""What runs with nobody waiting: executions, the runner, the broker, the scheduler, embedded servers.

May import dsl and telemetry; never api.
"""
