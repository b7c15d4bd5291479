"""How a model stands, as a pure function of what is stored about it: its conditions, and what comes when.

Nothing is read or shown here: `controller.stored` reads, and the console puts words to reasons. docs/status.md lists the reasons.
"""
