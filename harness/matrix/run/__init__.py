"""A run of jobs: its folder, its processes, what is left of killed ones, its end."""
