"""The test suite; it mirrors the source tree. See `docs/testing.md` for how to write a test."""
