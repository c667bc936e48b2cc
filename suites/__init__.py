"""Conformance suites: pytest files that run unchanged on the reference guest and on Windows."""
