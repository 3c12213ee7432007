"""python -m fmnist_lib: the command line, see `cli`."""

import sys

from fmnist_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
