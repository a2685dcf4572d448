"""What must survive a restart: partner keys, the audit of administration, and which gateway runs which facts."""
