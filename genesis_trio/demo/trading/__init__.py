"""What a trading desk knows, whoever keeps it running: records, the order book, the quoting rule, the way to the venue.

The protected desk (`genesis_trio.demo.desk`) and the bare one (`genesis_trio.demo.bare`) share all of it.
"""
