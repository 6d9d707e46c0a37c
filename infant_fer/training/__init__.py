"""How are checkpoints made and measured? Data, augmentation, pretraining, fine-tuning, figures and the model card."""
