"""The configuration manager of the reference guest, in plain Python.

`manager.ConfigurationManager` has every operation; the rest is what it is made of: keys (key, hive,
transaction), paths (namespace, wow64, parsing), security (security, tokens, sddl), query buffers
(information), hive files (image, regf_read, regf_write, filesystem). Nothing here knows of notifications,
guest memory or the emulator.
"""
