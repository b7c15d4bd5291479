"""Runs on Kubeflow Pipelines: what is compiled and uploaded, how a run is submitted and seen, and what its pod does.

The work of a run is that of `pipelines.run`, by the same code; nothing here trains, decides or judges.
"""
