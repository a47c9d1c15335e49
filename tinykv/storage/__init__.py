"""
SQLite under the store: files, log writer, row store, data writer (design, section 5).
"""
