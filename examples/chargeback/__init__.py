"""A small project to read: which payments will be charged back. Its data are made up; the tests train on it."""
