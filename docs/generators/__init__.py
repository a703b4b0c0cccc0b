"""One module per generated page, each with `page() -> str`; beside them, what they share to read code."""
