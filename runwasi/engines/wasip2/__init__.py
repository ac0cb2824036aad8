"""WASI 0.2 on the container's own files, sockets and clocks, for components that need what libwasmtime lacks.

capi, types, values     the component API by ctypes, a component's types, values in C's form and Python's
interface, linker       how a file says what it provides, and how a component's imports find it
guest, world, pool      an instance with its handles, what it may see, where instances come from
poll, streams           waiting and streaming, on which all else is built
cli, clocks, filesystem (descriptors, paths), tcp, udp, name_lookup (addresses)      WASI's interfaces
http_fields, http_body, http_types, http_client                                      wasi:http
http_settings, http_workers, http_server, http_connection, http_exchange, http_call  the server, outside in
"""
