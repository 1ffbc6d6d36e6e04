"""Every extension point on one page each."""
