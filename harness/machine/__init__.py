"""QEMU machines through libvirt: description, domain XML, templates, clones, watchers."""
