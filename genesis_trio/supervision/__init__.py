"""Supervision: components, their context, and the supervisors that keep them running.

- `component`: what users write, and the record that describes one child.
- `context`: what a component sees while it runs.
- `child`: one child of a supervisor, one incarnation after the other.
- `supervisor`: the block that starts, restarts and stops them.

Behind them: `_incarnation` (one run of a component), `_exits` (how a run ended), `_groups` (who restarts
together), `_order` (who needs whom), `_saving` (the cut), `_latches` (causes that survive), `_hysteresis` and
`_mode_watch` (failing children become a mode).
"""
