"""Lives held against others: what changed, by how much, and whether that is more than noise."""
