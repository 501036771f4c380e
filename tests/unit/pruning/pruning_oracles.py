"""The pruners' formulas, written down one entry and one column at a time in float64."""

import numpy as np


def to_numpy(tensor):
    return tensor.detach().double().numpy().copy()


def lowest(scores, count):
    """Indices of the lowest scores, ties by lower index."""
    return sorted(range(len(scores)), key=lambda index: (scores[index], index))[:count]


def whole_part(entries, percent):
    return entries * percent // 100


def groups_of(width, m):
    return [range(start, start + m) for start in range(0, width, m)]


def magnitude(weight, percent=None, n=None, m=None):
    weight = to_numpy(weight)
    if percent is not None:
        scores = [abs(entry) for entry in weight.ravel()]
        for index in lowest(scores, whole_part(weight.size, percent)):
            weight.flat[index] = 0
        return weight
    return wanda(weight, np.ones((1, weight.shape[1])), n=n, m=m)


def wanda(weight, inputs, percent=None, n=None, m=None):
    weight, inputs = np.array(weight, dtype=float), np.array(inputs, dtype=float)
    norms = [sum(x * x for x in feature) ** 0.5 for feature in inputs.T]
    for row in weight:
        scores = [abs(entry) * norm for entry, norm in zip(row, norms, strict=True)]
        groups = [range(len(row))] if m is None else groups_of(len(row), m)
        for group in groups:
            count = whole_part(len(row), percent) if m is None else n
            for position in lowest([scores[column] for column in group], count):
                row[group[position]] = 0
    return weight


def sparsegpt(weight, inputs, percent=None, n=None, m=None, damping=0.01, block_size=128):
    """The column recursion with no lazy update: every later column is updated at once."""
    weight, inputs = np.array(weight, dtype=float), np.array(inputs, dtype=float)
    rows, width = weight.shape
    hessian = np.zeros((width, width))
    for x in inputs:
        hessian += 2 / len(inputs) * np.outer(x, x)
    for feature in range(width):
        if hessian[feature, feature] == 0:
            hessian[feature, feature] = 1
            weight[:, feature] = 0
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(width)
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T
    pruned = np.zeros(weight.shape, dtype=bool)
    for column in range(width):
        if m is None and column % block_size == 0:
            block = range(column, min(column + block_size, width))
            entries = [(row, c) for row in range(rows) for c in block]
            scores = [weight[row, c] ** 2 / factor[c, c] ** 2 for row, c in entries]
            for index in lowest(scores, whole_part(len(entries), percent)):
                pruned[entries[index]] = True
        if m is not None and column % m == 0:
            for row in range(rows):
                group = range(column, column + m)
                scores = [weight[row, c] ** 2 / factor[c, c] ** 2 for c in group]
                for index in lowest(scores, n):
                    pruned[row, column + index] = True
        for row in range(rows):
            kept = 0 if pruned[row, column] else weight[row, column]
            error = (weight[row, column] - kept) / factor[column, column]
            weight[row, column] = kept
            weight[row, column + 1 :] -= error * factor[column, column + 1 :]
    return weight


def owl(blocks, sparsity, allocation, outlier=5, deviation=0.08):
    """The sparsity of each block; a block is a list of (weight, inputs) of its linear layers."""
    ratios, sizes = [], []
    for block in blocks:
        scores = []
        for weight, inputs in block:
            norms = [sum(x * x for x in feature) ** 0.5 for feature in inputs.T]
            scores += [abs(row[j]) * norms[j] for row in weight for j in range(len(row))]
        mean = sum(scores) / len(scores)
        ratios.append(sum(score > outlier * mean for score in scores) / len(scores))
        sizes.append(len(scores))
    if allocation == "owl-minmax":
        return owl_minmax(ratios, sizes, sparsity, deviation)
    mean = sum(r * size for r, size in zip(ratios, sizes, strict=True)) / sum(sizes)
    widest = max(abs(ratio - mean) for ratio in ratios)
    return [sparsity - deviation * (ratio - mean) / widest for ratio in ratios]


def owl_minmax(ratios, sizes, sparsity, deviation=0.08):
    """The authors' way from outlier ratios to sparsities: densities, mapped and then centred."""
    spread = max(ratios) - min(ratios)
    densities = [(ratio - min(ratios)) / spread * 2 * deviation for ratio in ratios]
    mean = sum(d * size for d, size in zip(densities, sizes, strict=True)) / sum(sizes)
    return [1 - (density - mean + 1 - sparsity) for density in densities]
