"""The check-up: is everything as it should be, and if not, what mends it. One function for each thing."""
