"""The write path: handles, the writer behind them, consolidation; numpy nowhere."""
