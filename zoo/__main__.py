"""`python -m zoo` does what `zoo` does, where no script is on the path."""

import sys

from zoo.cli import main

sys.exit(main())
