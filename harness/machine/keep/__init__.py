"""What the harness keeps on a host and ends for sure: folders, processes, sessions, templates on disk."""
