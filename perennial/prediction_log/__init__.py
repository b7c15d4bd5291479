"""The prediction log: one row for each answer, in checksummed segments of our own framing. Imports no numpy, pandas or pyarrow.

`rows` says what a row is, `segment` how it lies in a file and how a file is read, `writer` how a serving process writes,
`shipped` how the log lies in a bucket.
`docs/prediction-log.md` has the format byte by byte and what is lost when. What becomes of sealed segments belongs to
`monitoring.log.collect`.
"""

from perennial.prediction_log.rows import LogRow
from perennial.prediction_log.segment import Seal, Segment, read_segment, seal_left
from perennial.prediction_log.writer import LogWriter

__all__ = ["LogRow", "LogWriter", "Seal", "Segment", "read_segment", "seal_left"]
