"""Worked examples. Nothing outside this folder, `models/` and `feature_repo/definitions/` knows their domain."""
