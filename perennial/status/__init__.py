"""How a model stands, as a pure function of what is stored about it: its conditions, and what comes when.

Nothing is read or shown here: the console reads what is stored, and puts words to reasons. `docs/status.md` lists the reasons.
"""
