"""The Photo tab: layout, events, and what is shown."""
