"""``python -m fastfc``: the same as the command ``fastfc``."""

import sys

from fastfc.cli import main

if __name__ == "__main__":
    sys.exit(main())
