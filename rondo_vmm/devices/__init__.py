"""Devices: each answers reads and writes of its registers, and knows nothing of the machine around it."""
