"""Supervision: components, their context, and the supervisors that keep them running.

- `component`: what users write, and the record that describes one child.
- `context`: what a component sees while it runs.
- `child`: one child of a supervisor, one incarnation after the other.
- `supervisor`: the block that starts, restarts and stops them.

Where to look for what a child does: `_child_state` (its fields and health), `_parking` (suspended, parked, tried), `_aftermath`
(what follows a run), `child` (its task, and what is done by hand), `_incarnation` (one run), `_exits` (how it ended), `_budget`
(how often it may), `_recovery` and `_ladder` (from which saved state).  Of a supervisor: `_groups` (who restarts together), `_order` (who needs whom), `_stopping` (in which order
they stop), `_services` (tasks beside the children), `_mode_watch` and `_hysteresis` (failing children become a mode), `_saving`
(the cut), `_control` and `_latches` (what outlives the process), `_words` (`why()`).
"""
