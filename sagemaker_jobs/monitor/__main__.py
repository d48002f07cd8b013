"""The data-quality monitor: ``python3 monitor.pyz baseline --data … --output …`` or ``python3 monitor.pyz check``."""

import sys

from monitor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
