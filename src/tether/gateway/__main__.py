"""`python -m tether.gateway FD`: started by the supervisor with its end of the channel."""

import sys

from tether.gateway.app import main

if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1])))
