"""The typed configuration: the one definition of every key, its type, and what is allowed.

A file a section; ``whole`` has them all, ``checks`` what they must agree on, and ``loading`` makes
a configuration of values. The classes of all methods, and torch, come with these; who draws figures
or makes tables wants no more than ``variants``.
"""
