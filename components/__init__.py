"""The steps of our pipelines, as KFP components: thin edges that read, call one function, and write.

The work belongs to the folders below this one; what runs after what belongs to `pipelines`.
"""

from components.check import check
from components.claim import claim
from components.dataset import build_dataset
from components.decide import decide
from components.evaluate import evaluate
from components.gate import gate
from components.measure import measure
from components.perform import perform
from components.record import record
from components.refit import refit
from components.thresholds import set_thresholds
from components.train import train
from components.validate import validate_data

ALL = (
    *(claim, build_dataset, validate_data, train, evaluate, gate, refit, set_thresholds, check, record),
    *(measure, perform, decide),
)
"""The catalogue: every component, in the order of the pipelines."""
