"""Every member that steep brings, by the name that a spec or a command gives it, and its module.

To add one: a file in its package and a line here. A module is imported when its name is first
requested, so that this table costs nothing.
"""

DOMAINS = {
    "images": "steep.domains.images",
    "characters": "steep.domains.characters",
    "words": "steep.domains.words",
    "translation": "steep.domains.translation",
    "speech": "steep.domains.speech",
    "dataset": "steep.domains.dataset",
    "external": "steep.domains.external",
}
"""What a study can be about."""

FAMILIES = {
    "resnet": "steep.models.resnet",
    "rhn": "steep.models.rhn",
    "lstm": "steep.models.lstm",
    "transformer": "steep.models.transformer",
    "seq2seq": "steep.models.seq2seq",
    "deepspeech2": "steep.models.deepspeech2",
    "attention": "steep.models.attention",
    "none": "steep.models.none",
}
"""Model families."""

TRAINERS = {
    "command": "steep.trainers.command",
    "engine": "steep.trainers.engine",
    "function": "steep.trainers.function",
    "replay": "steep.trainers.replay",
    "synthetic": "steep.trainers.synthetic",
}
"""What trains one model on one shard."""

PLANNERS = {
    "grid": "steep.planners.grid",
    "paper": "steep.planners.paper",
    "optuna": "steep.planners.optuna",
    "frugal": "steep.planners.frugal",
}
"""How the best-fit models are searched."""

EXECUTORS = {
    "inline": "steep.executors.inline",
    "local": "steep.executors.local",
    "command": "steep.executors.command",
    "slurm": "steep.executors.slurm",
    "ray": "steep.executors.ray",
}
"""Where workers run."""

SOURCES = {
    "fashion-mnist": "steep.data.sources.fashion_mnist",
    "state-of-the-union": "steep.data.sources.state_of_the_union",
    "gcide": "steep.data.sources.gcide",
    "rfc": "steep.data.sources.rfc",
    "german-english": "steep.data.sources.german_english",
    "amazon-queen": "steep.data.sources.amazon_queen",
    "asterisk": "steep.data.sources.asterisk",
    "wmt16-de-en": "steep.data.sources.wmt16",
    "lm1b": "steep.data.sources.lm1b",
    "imagenet-1k": "steep.data.sources.imagenet",
    "librispeech": "steep.data.sources.librispeech",
}
"""Data for studies: public packages, and the paper's own sets. ``steep data list`` shows them."""
