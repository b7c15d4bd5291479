"""Monitoring: the only home of Evidently. Here is what looks at data and says how it is or how it has changed.

What a dataset must be to be trained on is in `perennial.data.validation`: a contract that stops a run. Nothing here stops one.
"""
