"""Reading: rows, series, queries over stores and directories of stores, with numpy."""
