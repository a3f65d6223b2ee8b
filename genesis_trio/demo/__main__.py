import sys

from genesis_trio.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
