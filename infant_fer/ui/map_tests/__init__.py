"""The tab "Test the map": five experiments on the face of the Photo tab."""
