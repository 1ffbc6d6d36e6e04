"""``steep watch``: pages about studies and tables that follow them while they grow.

sources.py   what is watched: a study that runs, a published one, a table
pages.py     their pages: the report's sections, and what only a live page has
site.py      all pages by path, served by server.py or written to a folder
"""
