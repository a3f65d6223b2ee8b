"""``python -m genesis_trio.demo.exchange``."""

import sys

from genesis_trio.demo.exchange.process import main

sys.exit(main())
