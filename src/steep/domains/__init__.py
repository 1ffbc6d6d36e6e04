"""Domains: what a study can be about. To add one: a file here and a line below."""

DOMAINS = {
    "images": "steep.domains.images",
    "characters": "steep.domains.characters",
    "words": "steep.domains.words",
    "translation": "steep.domains.translation",
    "speech": "steep.domains.speech",
    "dataset": "steep.domains.dataset",
    "external": "steep.domains.external",
}
