"""What is done inside a guest: its axes, its clock and identity, files, drivers, hibernation."""
