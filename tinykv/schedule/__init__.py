"""TinySchedule: the daemon that keeps the map of a cluster, and gives ids, timestamps and orders to its stores."""
