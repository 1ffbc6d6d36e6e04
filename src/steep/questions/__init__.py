"""Analyses of learning curves and of joint fits: each a function from records to records."""
