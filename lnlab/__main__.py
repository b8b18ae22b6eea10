"""`python -m lnlab` is the command `lnlab`."""

import sys

from lnlab.cli import main

sys.exit(main())
