"""Serving: the runtime that answers requests, and the deployers that put versions into traffic.

`runtime/` starts fast and imports little: no Feast, MLflow, Kubernetes, Kubeflow, Evidently, pandas or pyarrow. `deployers/` says
where a version runs, `verification/` asks a version in a server of its own before it gets traffic.
"""
