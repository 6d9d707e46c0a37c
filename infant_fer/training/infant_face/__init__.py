"""How is the embedded checkpoint trained? From the research data to a measured folder; start with `run`."""
