"""One module a dashboard; `model` is what they are written in."""
