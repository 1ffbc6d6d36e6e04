"""A classifier of the rows of a CSV, in scikit-learn: prints its accuracy, and knows nothing of
steep.

    python sklearn_csv.py train.csv val.csv --target target --neighbours 3
"""

import argparse

import pandas as pd
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("train")
parser.add_argument("validation")
parser.add_argument("--target", default="target")
parser.add_argument("--neighbours", type=int, default=3)
args = parser.parse_args()

train, validation = pd.read_csv(args.train), pd.read_csv(args.validation)
model = make_pipeline(StandardScaler(), KNeighborsClassifier(args.neighbours))
model.fit(train.drop(columns=args.target), train[args.target])
accuracy = model.score(validation.drop(columns=args.target), validation[args.target])
print(f"{len(train)} rows, accuracy: {accuracy:.4f}")
