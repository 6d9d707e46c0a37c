"""How is a shipped checkpoint trained? From the research data to a measured folder; start with `run`."""
