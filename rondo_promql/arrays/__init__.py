"""Arrays of many series: their samples, their values at steps, windows over them and sums without loss."""
