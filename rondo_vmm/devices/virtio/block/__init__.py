"""A disk, section 5.2: device (the queue), request (what is asked), backend (the file)."""
