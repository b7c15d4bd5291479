"""The registry: what people look up in MLflow. The only home of MLflow.

MLflow holds parameters, metrics, tags, plots and a link to each version's folder, never model files, and nobody decides by
it: what happened stands in the ledger (`perennial.ledger`), what a version is in its folder (`versions.folder`).
"""

from perennial.registry.registry import RunEntry, add_version, log_run, set_champion

__all__ = ["RunEntry", "add_version", "log_run", "set_champion"]
