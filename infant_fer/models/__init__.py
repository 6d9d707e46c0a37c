"""The project's own architectures, as transformers' PreTrainedModel, and the features they compute."""
