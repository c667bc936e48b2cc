"""What is watched while a machine runs, and what it means for a test."""
