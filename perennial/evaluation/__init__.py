"""How good a model is: scores, their intervals over days, curves, calibration, slices, and the gates that judge them.

Pure functions of labels and probabilities, and their records. Which model is judged, and on what, is decided in `lifecycle`.
"""
