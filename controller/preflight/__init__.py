"""The preflight: whether an installation on a cluster has what it needs, asked row by row; nothing is installed or repaired.

A row that is *missing* keeps the installation from working and says how to get it. *Not shown*: nobody knows. That is no failure
of what is only good to have; it is one of what is needed, and says who may see it.
"""

from controller.preflight.preflight import preflight
from controller.preflight.row import PreflightRow

__all__ = ["PreflightRow", "preflight"]
