"""`python -m gateway --port 8080`: see gateway.serve."""

import sys

from gateway.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
