"""The trained model as files for others: fastai's, ONNX in floats and 8-bit integers, and MLflow."""
