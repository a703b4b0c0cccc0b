"""Services: a settings slice, a `run_once` that returns what it did, and a loop too thin to need a test."""
