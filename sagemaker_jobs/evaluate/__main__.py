"""Run the evaluation: ``python3 evaluate.pyz --model … --splits …``."""

import sys

from evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
