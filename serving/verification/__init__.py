"""The serving check: what a version must show in the real runtime before it gets traffic, in a process of its own.

It runs in a step of the training pipeline and while a version is rolled out, with pandas, and never inside a serving process.
Not here: how a version gets its traffic, which is `serving.rollouts`, and what answers requests, which is `serving.runtime`.
"""
