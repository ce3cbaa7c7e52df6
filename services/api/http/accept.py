"""Read an Accept header by RFC 9110: media types in any case, the preferred ones first."""

from collections.abc import Iterator


def preferred(accept: str) -> list[str]:
    """Return the media types that the header accepts, in lower case, the most preferred first."""
    ranked = sorted(_with_quality(accept), key=lambda pair: -pair[1])
    return [media_type for media_type, quality in ranked if quality > 0]


def _with_quality(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        qualities = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            yield media_type, float(qualities[0]) if qualities else 1.0
        except ValueError:
            continue  # a preference that can't be read is ignored
