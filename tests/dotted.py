"""Values inside nested dictionaries and lists, by their place."""


def change(values: dict, path: str, value) -> dict:
    """Put a value at a dotted path of ``values``, in place; ``...`` removes what is there."""
    *parents, key = path.split(".")
    node = values
    for parent in parents:
        node = node[int(parent)] if isinstance(node, list) else node.setdefault(parent, {})
    if value is ...:
        del node[key]
    else:
        node[key] = value
    return values
