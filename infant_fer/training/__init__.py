"""How are checkpoints trained? Any image classifier on any infants; infant_face is the shipped checkpoints' recipe."""
