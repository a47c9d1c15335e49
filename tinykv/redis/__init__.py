"""The values of Redis over rows: data types, the keyspace, and the commands written against them."""
