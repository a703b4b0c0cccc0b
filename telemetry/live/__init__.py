"""Figures of the last hour as they come: kept in memory of fixed size, and equal to what is stored.

`buffer` is a ring of minutes, `store` has one for each measure of each series. `requests` reads what ended from events,
`seen` knows which of them were counted. `stored` reads where to begin, `tail` follows the stream from there. `view`
says what somebody sees of it, and `feed` tells all who look on.
"""
