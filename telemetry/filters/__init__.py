"""The one filter language of telemetry: `command:x outcome:failed duration:>2s -type:transform`.

Text goes through `parsing` into `syntax` (plain values), which `printing` writes out again in its one canonical form
and `conditions` turns into SQL. What can be asked for is in `fields`: a closed catalogue. Only `conditions` knows that
there is a database.
"""
