"""What a person reads of a life: its sections, given by plugins, and the forms in which they are written."""
