#!/usr/bin/env python3
"""Writes the toy model of TensorFlow Serving's own tests as real SavedModels: DIR/1 (x/2 + 2) and DIR/2 (x/2 + 3).

    make_models.py DIR

`half_plus_two` is the model that TensorFlow Serving's documentation and tests use. Its second version adds three
instead, so that a prediction alone tells which version made it. Run with the Python of `tests/parts tensorflow`.
"""

import argparse
import os
import pathlib

# Before the import: only errors on stderr, and no search for a GPU that a test must not depend on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf  # noqa: E402

# Version directory -> what it adds. client.py knows the same law.
ADDENDS = {1: 2.0, 2: 3.0}


class HalfPlus(tf.Module):
    """y = x/2 + addend, both constants as variables: a SavedModel with a `variables` folder, as trained ones have."""

    def __init__(self, addend: float):
        super().__init__()
        self.half = tf.Variable(0.5, name="a")
        self.addend = tf.Variable(addend, name="b")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x):
        return {"y": tf.add(tf.multiply(self.half, x), self.addend, name="y")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes half_plus_two as SavedModels, versions 1 and 2.")
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR")
    directory = parser.parse_args().directory
    for version, addend in ADDENDS.items():
        model = HalfPlus(addend)
        path = directory / str(version)
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.predict})
        print(path)


if __name__ == "__main__":
    main()
