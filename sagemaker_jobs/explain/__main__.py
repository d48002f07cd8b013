"""Run the explanation: ``python3 explain.pyz --model … --splits …``."""

import sys

from explain import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
