"""The records of the loop: what a window showed, what was decided on it, and how a version came to have the traffic.

Records and their rules only. They are kept by `ledger`, made by `monitoring` and acted on by the controller.
"""
