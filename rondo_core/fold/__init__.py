"""Folds of whole tables with numpy, loaded at the first fold that is large."""
