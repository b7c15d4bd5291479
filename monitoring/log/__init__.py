"""The prediction log as tables: segments collected here and from the bucket, what is missing or damaged, which rows are believed.

How segments are written stands in `perennial.prediction_log`. What the rows say about the model is asked in `monitoring`.
"""
