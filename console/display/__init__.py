"""What is shown: how things are printed, and the tables and sentences for models, runs, decisions and findings.

Nothing is started or changed here; the commands that do so are the modules beside this folder.
"""
