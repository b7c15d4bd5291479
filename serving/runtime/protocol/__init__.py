"""What a request must bring and how it is worded: V1, V2, their fields, and JSON parsed strictly.

Reading and writing only. How a prediction is made belongs to `serving.runtime`.
"""
