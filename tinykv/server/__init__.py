"""The RESP ports and the HTTP port: sessions, dispatch, connection and server commands."""
