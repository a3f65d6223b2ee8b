"""What you need to test a service that is built on genesis_trio.

`simulate` runs a whole service in virtual time from a seed: the same seed gives the same run.
"""

from genesis_trio.testing._simulate import simulate

__all__ = ["simulate"]

simulate.__module__ = __name__
