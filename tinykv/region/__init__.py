"""One replica of a region: its entries, its apply machine and its state."""
