"""The proofs: each module is one, run as `python -m tests.proofs.NAME`; `make proof-NAME` does that."""
