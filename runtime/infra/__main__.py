"""What `up_detached` leaves behind: `python -m runtime.infra --data DIR` holds the servers until SIGTERM."""

import argparse
import sys
from pathlib import Path

from runtime.infra.errors import InfraError
from runtime.infra.owner import up


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runtime.infra", description="Hold the embedded servers.")
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    try:
        up(parser.parse_args().data)
    except InfraError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
