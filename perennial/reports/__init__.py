"""Pages, cards, tables and plots for people: of a run, of a version, of a model in service.

Everything shown is given; nothing is measured or decided here. What is said is a list of `blocks`, and all markup stands in
`templates/`.
"""
