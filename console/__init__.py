"""The human's side: the command line. It writes requests to the ledger and starts runs; it has no other power.

What a person sees is decided here; what is true is read from the ledger, the specs and the results of runs.
"""
