"""Serving: the runtime that answers requests, and the deployers that put versions into traffic.

`runtime/` starts fast and imports little: no Feast, MLflow, Kubernetes, Kubeflow, Evidently, pandas or pyarrow. `deployers/` says
where a version runs.
"""
