"""Roll-ups: what the events of a minute, an hour or a day add up to, right at every moment.

`histogram` spreads values over bins (pure). `aggregator` makes minutes from events, and hours and days from those, by
the statement of `writing`.
`reading` answers from the widest clean buckets, and from events where there are none, by one statement (`statements`);
`question` is what they are asked, and `asked` says which filters can be answered so (pure). `comparison` makes
buckets once more and says whether they are the same.
"""
