"""The one writer of the loop: each tick reads what is true, does what people asked for and what is due; it alone submits runs.

Every step is a claim or a settled request, committed before any call, and may be repeated: the next tick mends a crash anywhere.
Nothing is concluded here: monitoring decides, and its decision is written before the controller acts on it.
"""
