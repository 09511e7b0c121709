"""The test suite; it mirrors the tree of the code. `docs/testing.md` says how to write a test."""
