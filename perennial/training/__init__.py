"""Making a model: estimators, the search over time folds, the recipe that it ends in, and the file of the fitted model.

Nothing here knows gates or versions: whether a model is good enough is asked in `evaluation`.
"""
