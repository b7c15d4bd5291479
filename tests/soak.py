"""Whether the long form of a test runs: `make soak`. What that is of each stands in `docs/testing.md`."""

import os

IS_SOAK = os.environ.get("SOAK") == "1"
"""Every point is killed and every cycle is run; else one of each kind."""
