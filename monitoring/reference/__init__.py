"""What is normal: weekly blocks of the reference, the statistics of their differences, limits with a stated false alarm rate.

Made at the training, kept with the version. Windows are held against it in `monitoring`.
"""
