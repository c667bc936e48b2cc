"""Outcomes, the folder of a run, and what people read of it: terminal matrix, HTML page, JUnit XML."""
