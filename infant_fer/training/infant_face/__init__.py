"""How is the embedded checkpoint made? From the research data to a measured folder; `run` is the way through."""
