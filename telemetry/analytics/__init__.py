"""Analytics: what is slow, what fails, what it costs, since when; and which errors are more than usual.

Pure: `tails` has the probabilities, `baseline` judges a count by others, `history` says which others those are,
`trends` tells a trend from chance. `groups` says what can be told apart and what it is made of, `figures` which figures
there are. `report` and `spikes` read roll-ups and put it together: what they take is what REST takes.
"""
