"""The same desk on plain Trio: one nursery, its own simple reconnect, no saved state.

It is what is written in an afternoon, and not badly: it knows the same venue, quotes by the same rule, has a limit
on every request and opens its streams again.  What it lacks is what genesis_trio is for.
"""
