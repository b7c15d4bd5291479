"""The preflight: whether an installation on a cluster has what it needs, asked row by row; nothing is installed or repaired.

A row that is *missing* keeps the installation from working and says how to get it. *Not shown* is no failure: it is not needed,
or who asks may not see it.
"""

from controller.preflight.preflight import preflight
from controller.preflight.row import Row

__all__ = ["Row", "preflight"]
