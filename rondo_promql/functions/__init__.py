"""Functions of PromQL: over ranges, over values, over labels and over histograms; each is a pure function of arrays."""
