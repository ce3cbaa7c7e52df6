"""Which metrics an expression reads."""

import re

_STRING = re.compile(r'"[^"]*"')
_LABELS = re.compile(r"\{[^{}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NO_METRIC = {
    *("and", "or", "unless", "bool", "offset", "sum", "max", "min", "avg", "count", "absent", "vector"),
    *("rate", "increase", "histogram_quantile", "last_over_time", "label_replace"),
}


def metrics_in(expression: str) -> set[str]:
    """The names of all metrics, and recorded series, in it."""
    text = _GROUPING.sub(" ", _LABELS.sub(" ", _STRING.sub('""', expression)))
    text = _RANGE.sub(" ", text)
    return {name for name in _NAME.findall(text) if name not in _NO_METRIC}


def labels_in(expression: str) -> dict[str, set[str]]:
    """Which labels are asked of which metric."""
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^{}]*)\}", expression):
        found.setdefault(name, set()).update(
            re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", _STRING.sub('""', matchers))
        )
    return found
