"""What leaves the store: batches of closed buckets, cursors, and the runner that owns retry and back-off."""
