"""Kubernetes: the only home of its client. What is there, what is applied, who may do what, and why a pod is not ready.

Objects are plain dicts as the API server writes them, of any kind. Nothing here knows KServe or a model; what is to be applied is
made elsewhere. Each call is one question that ends in time; who calls decides whether to ask again.
"""
