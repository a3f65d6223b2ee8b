"""The composition root: a tree described as data, run as a process.

- `config`: ``service.toml`` to a `Service`.
- `plugins`: a component by ``module:attribute`` or by its entry point.
- `running`: signals, store, admin socket around one supervisor.
- `admin`: questions and orders over a Unix socket.
- `http`: one HTTP connection, for whoever has something to answer.
"""
