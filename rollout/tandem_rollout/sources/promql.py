"""Confines PromQL of a spec to the series of one namespace. Pure.

Each selector gets a matcher of the namespace, as with prom-label-proxy. The text is parsed with the rules of
Prometheus' lexer. Anything else, such as extensions of other databases, is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

# no comments: lexers differ in where a line ends, and a comment could hide a selector from this one
_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<string>"(?:[^"\\\n]|\\[^\n])*" | '(?:[^'\\\n]|\\[^\n])*' | `[^`]*`)
  | (?P<number>[0-9][0-9A-Za-z_.]* | \.[0-9][0-9A-Za-z_.]*)
  | (?P<word>[A-Za-z_:][A-Za-z0-9_:]*)
  | (?P<range>\[[0-9A-Za-z_.:\ \t\r\n]*\])
  | (?P<symbol>==|!=|=~|!~|<=|>=|[-+*/%^<>@,(){}=])
    """,
    re.VERBOSE,
)
_MATCHERS: Final = frozenset({"=", "!=", "=~", "!~"})
_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
"""Keywords that are followed by a list of labels in parentheses."""

_BINARY: Final = frozenset({"and", "or", "unless", "atan2", "offset"})
_NUMBERS: Final = frozenset({"inf", "nan"})
_COMPARISONS: Final = frozenset({"==", "!=", "<", ">", "<=", ">="})
"""Keywords are also valid names of metrics where a value is expected."""

_UNCONFINED: Final = frozenset({"info"})
"""Functions that select series without a selector."""


class _Token(NamedTuple):
    kind: str
    text: str
    end: int


_END: Final = _Token("end", "", -1)


def confine(text: str, namespace: str) -> str:
    """The same PromQL, with only the series of one namespace.

    Args:
        text: PromQL.
        namespace: The namespace, without characters that need escaping.

    Raises:
        ValueError: The text is not valid PromQL, or has a comment or a function that selects series without a selector.
    """
    matcher = f'namespace="{namespace}"'
    tokens = [*_tokens(text), _END]
    inserted: list[tuple[int, str]] = []
    at, before = 0, _END
    while tokens[at] is not _END:
        token, after = tokens[at], tokens[at + 1]
        word = token.text.lower() if token.kind == "word" else ""
        # matchers of one label apply together, so that one of the author cannot widen this one
        if token.text == "{":
            inserted.append((token.end, f"{matcher},"))
            at = _selector(tokens, at + 1)
        elif word in _LISTS and after.text == "(":
            at = _labels(tokens, at + 2)
            before = token
            at += 1
            continue
        elif word and after.text not in ("(", "{") and not _is_of_the_language(word, before, after):
            inserted.append((token.end, f"{{{matcher}}}"))
        elif word in _UNCONFINED:
            raise ValueError(f"{token.text}() is not allowed, as it selects series without a selector")
        elif token.text in ("=", "=~", "!~"):
            raise ValueError(f"{token.text} is only allowed in braces")
        before = tokens[at]
        at += 1
    # from the end, so that the earlier positions stay valid
    for end, part in reversed(inserted):
        text = text[:end] + part + text[end:]
    return text


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"{text[at]!r} at character {at + 1} is not valid PromQL")
        if token.lastgroup != "space":
            tokens.append(_Token(str(token.lastgroup), token.group(), token.end()))
        at = token.end()
    return tokens


def _is_of_the_language(word: str, before: _Token, after: _Token) -> bool:
    """Whether a word that is not followed by parentheses or braces is a keyword.

    Args:
        word: The word, in lower case.
        before: The token before it; after a list of labels, the keyword of the list.
        after: The token after it.
    """
    if word in _BINARY:
        return _ends_value(before)
    if word == "bool":
        return before.text in _COMPARISONS
    if word in ("group_left", "group_right"):
        return before.text.lower() in ("on", "ignoring")
    return word in _NUMBERS or after.text.lower() in ("by", "without")


def _ends_value(token: _Token) -> bool:
    """Whether an operator may follow a token."""
    if token.kind != "word":
        return token.kind in ("number", "range", "string") or token.text in (")", "}")
    return token.text.lower() not in (_LISTS | _BINARY | {"bool"}) - {"by", "without"}


def _selector(tokens: Sequence[_Token], at: int) -> int:
    """Index of the closing brace of a selector."""
    while tokens[at].text != "}":
        label = tokens[at]
        if label.kind not in ("word", "string"):
            raise ValueError('a selector of PromQL must be a list of matchers, such as label="value"')
        # databases use such labels for extensions: __graphite__ selects series by another language
        if label.text.strip("\"'`").startswith("__") and label.text.strip("\"'`") != "__name__":
            raise ValueError(f"the label {label.text} is not allowed")
        at += 1
        if tokens[at].text in _MATCHERS and tokens[at + 1].kind == "string":
            at += 2
        # a string alone is a quoted name of a metric, as in Prometheus 3
        elif label.kind == "word":
            raise ValueError(f"the label {label.text} of a selector needs an operator and a string")
        if tokens[at].text == ",":
            at += 1
        elif tokens[at].text != "}":
            raise ValueError("matchers of a selector must be separated by commas")
    return at


def _labels(tokens: Sequence[_Token], at: int) -> int:
    """Index of the closing parenthesis of a list of labels."""
    while tokens[at].text != ")":
        if tokens[at].kind not in ("word", "string") and tokens[at].text != ",":
            raise ValueError("a list of labels of PromQL must consist of labels and commas")
        at += 1
    return at
