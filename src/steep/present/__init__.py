"""Tables, sentences and figures: the only place that formats numbers."""
