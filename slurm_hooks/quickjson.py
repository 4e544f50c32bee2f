# SPDX-License-Identifier: Apache-2.0
"""JSON for hooks, by CPython's own C code but without the `json` package around it.

`import json` brings `re` and `enum` along, which took 40 % of a hook's time
(docs/performance.md). The scanner and the encoder in `_json` are what `json`
itself calls; where they are not as expected, `json` does the work.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Context:
    """What json.decoder.JSONDecoder hands to the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float  # NaN and Infinity, which we never write
    memo: dict[str, str] = {}  # noqa: RUF012 (read by the C code as an attribute)


_scan: Callable[[str, int], tuple[Any, int]] | None
_encode: Callable[[Any, int], tuple[str, ...]] | None
try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _scan = make_scanner(_Context)  # type: ignore[arg-type]  # it reads the attributes above, of anything
    _encode = make_encoder(None, str, encode_basestring_ascii, None, ": ", ", ", False, False, False)  # noqa: FBT003
except (ImportError, TypeError, AttributeError):
    _scan = _encode = None


def loads(text: str) -> Any:
    """A JSON document's value. Raises ValueError."""
    if _scan is None:
        import json

        return json.loads(text)
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("not JSON") from None
    if text[end:].strip():
        raise ValueError("not JSON: something follows")
    return value


def dumps(value: Any) -> str:
    """A value as JSON, in ASCII, on one line; what JSON does not know is written as its str()."""
    if _encode is None:
        import json

        return json.dumps(value, default=str)
    return "".join(_encode(value, 0))
