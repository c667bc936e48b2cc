"""Plans of many jobs, and where they run: this host, or several."""
