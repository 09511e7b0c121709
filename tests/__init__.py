"""The test suite. It mirrors the source tree. See `docs/testing.md` for how to write a test."""
