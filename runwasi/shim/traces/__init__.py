"""Records OpenTelemetry spans and sends them to a collector; imported only where traces are configured."""
