"""From a data set to a trained fastai model."""
