"""Model families. To add one: a file here and a line below."""

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
