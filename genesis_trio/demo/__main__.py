import sys

from genesis_trio.demo.harness.cli import main

if __name__ == "__main__":
    sys.exit(main())
