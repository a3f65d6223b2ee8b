"""A trading desk that is made to fail: ``genesis demo``, or ``python -m genesis_trio.demo``.

::

    trading/    what a desk knows: records, the order book, the quoting rule, the way to the venue
    desk/       the protected desk, on genesis_trio: read it first
    bare/       the same desk on plain Trio
    exchange/   the venue: a process of its own, with a recorded market, real protocols, and ways to fail
    harness/    starts and breaks the processes, measures them from outside, and reports
    simulation  venue and desk in one process, under a virtual clock
"""
