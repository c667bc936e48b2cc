"""Disk images: qcow2, overlays, seals, and crash dumps read from them."""
