"""``python -m tapio``, which is the command ``tapio``."""

import sys

from tapio.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
