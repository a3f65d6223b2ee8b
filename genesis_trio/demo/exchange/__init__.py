"""The venue of the demonstration: an exchange that plays a recorded market and takes a desk's orders.

From the inside out:

- `book` — the recorded market's order book.
- `ledger` — the desk's orders and fills; what it says is the truth.
- `matching` — where those two meet.
- `market_data` — what the feed says of the book.
- `streams`, `faults`, `links` — who listens, what goes wrong, which connections there are.
- `exchange` — all of it behind HTTP requests and WebSockets, over any stream.
- `process` — the same behind two ports, as ``python -m genesis_trio.demo.exchange``.
"""
