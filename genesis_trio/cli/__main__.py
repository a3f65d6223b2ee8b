"""``python -m genesis_trio.cli``, where the command ``genesis`` is not on the path."""

from genesis_trio.cli import command

if __name__ == "__main__":
    command()
