"""`python -m yout`, the same as `yout`."""

import sys

from yout.cli import main

sys.exit(main())
