"""What runs after what: KFP graphs over `components`, and the runners that execute them.

A graph holds names and edges only. Conditions compare enumerated strings; the local runner evaluates nothing else safely.
"""
