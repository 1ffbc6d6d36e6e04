"""Sources of data for studies: public packages, and the paper's own sets. To add one: a file here
and a line in ``registry.py``. ``steep data list`` shows them."""
