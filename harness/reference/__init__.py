"""The reference guest: compiled drivers, emulated, over a model of the Windows configuration manager.

``with reference.boot("10.0.26100") as guest: ...`` needs no Windows, no virtual machine and no privileges.
"""

from harness.reference.guest import ReferenceGuest, boot

__all__ = ["ReferenceGuest", "boot"]
