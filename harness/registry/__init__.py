"""The vocabulary of registry filtering: versions, notify classes, structures, statuses, rights, paths."""
