"""rondo's own plugins, found by entry point like anyone's; no module imports them."""
