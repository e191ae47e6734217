"""Measures that need torch or the training data; those of judged photos alone lie in ``pipelines.assessment``."""
