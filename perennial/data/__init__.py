"""The training set as rows and columns: its contract, its validation, its splits in time, the matrix that an estimator gets.

How a training set is joined from sources belongs to `feature_repo`; how a window of served rows is judged, to `monitoring`.
"""
