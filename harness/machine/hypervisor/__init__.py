"""libvirt and QEMU: the connection, what they report, and one running machine."""
