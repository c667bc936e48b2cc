"""Registry filtering as the reference guest models it.

`contract` is the callback contract alone (no emulator), `marshal` puts its notifications into guest memory,
`keyobject` holds open instances of keys, `services_*` are the registry system services, `exports_*` what
drivers import, `runner` executes workload programs as a user-mode process would.
"""
