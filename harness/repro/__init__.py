"""Reproduction: what a failed test did, kept in a bundle; run again, shrunk, and followed back to its origin.

journal, recorder, places      what a test asks of its guest, kept while it runs
failure, claim, trust          what failed: its signature, and the assertion with what its names stood for
bundle, archive, keep          the file that holds all of it, read back with distrust
again, rerun, missing          running it again: the test itself, or its recorded steps
scenario, recorded, replay     those steps as actions that can be left out, and performing them
evaluate, observe, control     asking the assertion of a replay; what is right where no assertion says so
worker, workers                processes that perform scenarios
dependencies, reduce, simplify, shrink      what can be left out, and the search for what can't
literal, forms, render*, provenance, prove  the rest as a plain pytest test, run before it counts
bisect                         the first bad one
stop, picture, stepping, debug  stopping before what failed: on a machine inside the very program
"""
