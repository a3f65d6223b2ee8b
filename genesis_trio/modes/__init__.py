"""Operating modes: what a service may do while parts of it do not work.

A mode is not a value that somebody sets but the sum of held *causes*.  Each has a scope, an
owner and a reason, and is cleared by itself; clearing one never clears another::

    scope "desk"            held: SAFE by desk/feed, "no prices"
    ├── scope "ledger"      effective: SAFE
    └── scope "strategy"    held: EMERGENCY by risk, "limit broken"; effective: EMERGENCY

The effective mode of a scope is the worst over itself and its ancestors; its capabilities are
the intersection.  Both are pushed down when a cause changes, in one scheduler step, so that a
read is one attribute at any depth and a task that started before the change sees it too.

Tightening takes effect at once, always.  Loosening a latched cause takes effect once it is on disk.
"""

from genesis_trio.modes._causes import LatchLog, ModeCause
from genesis_trio.modes._current import (
    allows,
    cancel_when,
    current_mode,
    current_scope,
    mode_scope,
    require,
    root_scope,
)
from genesis_trio.modes._entry import EntryAction
from genesis_trio.modes._holding import Hold
from genesis_trio.modes._policy import ModePolicy
from genesis_trio.modes._scope import _SCOPE as _SCOPE
from genesis_trio.modes._scope import ModeScope
from genesis_trio.modes._values import MODE_CAPABILITIES, Capability, Criticality, Mode, admits

__all__ = [
    "MODE_CAPABILITIES",
    "Capability",
    "Criticality",
    "EntryAction",
    "Hold",
    "LatchLog",
    "Mode",
    "ModeCause",
    "ModePolicy",
    "ModeScope",
    "admits",
    "allows",
    "cancel_when",
    "current_mode",
    "current_scope",
    "mode_scope",
    "require",
    "root_scope",
]
