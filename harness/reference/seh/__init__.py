"""Structured exception handling: unwinding, dispatching, and the kernel routines that belong to it."""
