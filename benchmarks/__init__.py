"""What Weir costs and what it can do, measured side by side with a reference in one run: `make bench`.

The nouns: a *figure* is one measured number beside its target and its reference; a *round* is one turn of measurements
that are interleaved so that whatever else the machine does falls on all of them alike. `benchmarks.figures` lists every
figure; each module beside it measures some of them, and its docstring says exactly what. Imports all of Weir;
nothing imports it.
"""
