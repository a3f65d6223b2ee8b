"""What many objects share until they have something to keep."""

from types import MappingProxyType
from typing import Any

__all__ = ["EMPTY", "EMPTY_LIST"]

#: Reads like an empty dict, and cannot be written to: whoever has the first entry makes a dict of its own, which takes
#: 64 bytes even when it is empty.  That counts where there are ten of them in each of ten thousand children.
EMPTY: Any = MappingProxyType({})

#: The same for a list.
EMPTY_LIST: Any = ()
