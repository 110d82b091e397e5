"""The uWSGI Emperor as a config compiler and a thin runtime.

This directory gives the top-level directories their import names: ``compiler/`` is imported
as ``emperor.compiler``, and so on, through the links beside this file.
"""
