"""Tests registry filter drivers on Windows guests and on a reference guest."""
