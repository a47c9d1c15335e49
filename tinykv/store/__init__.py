"""The store hosts regions: turns, disk batches, flushes and expiry for all of them."""
