"""What is Perennial's own: what a model, a training, a version and a decision are, and the stores that remember them.

No Feast, Kubeflow, KServe or Evidently is known here. The wings stand on floors: `.importlinter` holds their order.
"""
