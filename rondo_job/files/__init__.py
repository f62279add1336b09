"""Files of a life beside its store's own: bounded, and whole after a kill of whoever writes them."""
