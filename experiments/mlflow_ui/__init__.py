"""The MLflow user interface on the local store, started safely and stopped cleanly."""
