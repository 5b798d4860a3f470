"""Answers in the browser: a local page where one drops photographs.

The command `try` imports it. It listens on 127.0.0.1 alone, and its page asks nobody else for anything.
"""
