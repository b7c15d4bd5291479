"""What the steps of a training call: candidate, judgement, refit, registration, and the claim that a run carries out.

The steps themselves are in `components`; what monitoring calls is in `monitoring`.
"""
