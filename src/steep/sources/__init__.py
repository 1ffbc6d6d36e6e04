"""Sources of data for studies: public packages, and the paper's own sets. To add one: a file here
and a line below. ``steep data list`` shows them."""

SOURCES = {
    "fashion-mnist": "steep.sources.fashion_mnist",
    "state-of-the-union": "steep.sources.state_of_the_union",
    "gcide": "steep.sources.gcide",
    "rfc": "steep.sources.rfc",
    "german-english": "steep.sources.german_english",
    "amazon-queen": "steep.sources.amazon_queen",
    "asterisk": "steep.sources.asterisk",
    "wmt16-de-en": "steep.sources.wmt16",
    "lm1b": "steep.sources.lm1b",
    "imagenet-1k": "steep.sources.imagenet",
    "librispeech": "steep.sources.librispeech",
}
