"""Unattended installs: from an install medium to a sealed image, with every step seen and bounded in time."""
