"""State that survives: the codec, saved checkpoints, the journal, recovery, and the engines below.

Nothing here is imported before it is used: `genesis_trio` re-exports the public names.
"""
