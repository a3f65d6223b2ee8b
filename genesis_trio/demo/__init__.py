"""A trading desk that is made to fail: ``python -m genesis_trio.demo``.

Read `genesis_trio.demo.desk` first: it is the desk.  The rest is the world around it.
"""

from genesis_trio.demo.command import main

__all__ = ["main"]
