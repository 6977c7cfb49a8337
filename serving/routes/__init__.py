"""HTTP handlers: decode, call the service, return a record."""
