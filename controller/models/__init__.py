"""Models as objects of Kubernetes: their definition, how they become files of the project, their status, what annotations ask.

Used with `PERENNIAL_MODELS=cluster` only. What a spec may hold is decided by `perennial.spec`, how a model stands by
`perennial.status`.
"""
