"""The web classifier: from a picture to an answer, without torch, fastai or luigi."""
