"""What runs: a plan is read and checked, its suites are collected, and jobs are made of it."""
