"""The study folder: the database, the log beside it, leases, recovery, and changes of the spec."""
