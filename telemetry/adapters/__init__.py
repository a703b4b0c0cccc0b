"""Adapters: other systems' logs as events of the closed catalogue.

`mapping` reads what a mapping file says, `catalogue` knows the fields there are, `fields` is how a value becomes one,
`lines` makes an event of a line, all pure; `importing` reads a file and stores what came of it.
"""
