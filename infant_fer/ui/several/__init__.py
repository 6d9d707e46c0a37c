"""Several photos: the readings of a session, their tables and reports, and the tab that shows them."""
