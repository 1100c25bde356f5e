"""``python -m recd.guests``: a guest of the worker that has started this."""

import sys

from .child import main

main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
