"""The supervisor behind `weir up`: servers, services, one log stream, one status file. May import telemetry."""
