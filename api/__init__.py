"""The front doors: REST and command line. The top layer: may import everything below."""
