"""Results in the formats of others: each from the records alone, no model needed.

A format is a module with a function that makes the files of one cell, and a line in
:data:`bench.tools.formats.write.FORMATS`. What a format asks for and records do not have is left
out.
"""
