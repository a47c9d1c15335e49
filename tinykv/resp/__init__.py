"""The Redis serialization protocol, RESP2 and RESP3, as bytes in and values out: no sockets, no clocks."""
