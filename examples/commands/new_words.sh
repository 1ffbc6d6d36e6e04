#!/bin/sh
# How much of a text is words that another one does not have: the error of a dictionary.
#
#     sh new_words.sh train.txt val.txt
words() { tr -cs '[:alpha:]' '\n' < "$1" | tr '[:upper:]' '[:lower:]'; }
words "$1" | sort -u > "$STEEP_CHECKPOINTS/known"
words "$2" | awk -v known="$STEEP_CHECKPOINTS/known" '
    BEGIN { while ((getline word < known) > 0) seen[word] = 1 }
    NF { total++; if (!($1 in seen)) missing++ }
    END { printf "{\"validation_error\": %.6f}\n", missing / total }'
