"""The schema, as numbered forward-only SQL, and the runner that applies it."""
