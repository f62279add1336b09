"""The plug: what is installed, loaded, configured and bound."""
