"""What `winogrande.yaml` cannot say in a template: lm-eval reads numbers and lists out of those."""


def after_blank(item: dict) -> str:
    """The words after the blank of a sentence."""
    return item["sentence"].partition("_")[2].strip()
