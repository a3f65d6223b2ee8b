"""The harness of the demonstration: it starts the processes, breaks them by a plan, and measures from outside.

Read `run` first: one run of a venue and a desk.  What it heard is a `Recording`; `measure` makes figures of it,
`invariants` judges them, `table`, `page` and `live` show them.
"""
