"""The desk, protected: seven components under one supervisor, each of them a few lines.

::

    venue ──► feed ──MARKET──► book ──TOPS──► strategy ──DECISIONS──► risk ──APPROVED──► execution ──► venue
                                                  ▲                    ▲                  │      ▲
                                                  ├─────WORKING────────┼──────────────────┘      │
                                                  └────POSITIONS───────┴───── ledger             │
    venue ──► drop copy ──BOOKED──► ledger                drop copy ──────────UPDATES────────────┘

None of them handles a crash, a lost link or a killed process.  Whatever fails raises, the supervisor starts it
again, and it goes on from the state that was saved.
"""

from genesis_trio.demo.desk.tree import make_desk

__all__ = ["make_desk"]
