"""`python -m refbilinear` is the command `refbilinear`."""

import sys

from refbilinear.study.cli import main

sys.exit(main())
