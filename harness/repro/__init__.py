"""Reproduction: what a failed test did, kept in a bundle; run again, shrunk, and followed back to its origin.

journal, recorder   what a test asks of its guest, kept while it runs
failure, claim      what failed: the signature, and the assertion with what its names stood for
bundle, archive     the file that holds all of it, read back with distrust
rerun, replay       running it again: the test itself, or its recorded steps
scenario, reduce    what can be left out, and the search for what can't
render              a scenario as a plain pytest test
shrink, bisect      the commands' work
"""
