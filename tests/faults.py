"""Faults planted in a source text, which some test must notice."""


def planted(source, text, broken):
    """Return the source with a fault in it.

    Args:
        source: text of a module or of a notebook's twin.
        text: what to break; it must be there exactly once, or the test would check nothing.
        broken: what to put in its place.
    """
    found = source.count(text)
    assert found == 1, (
        f"expected {text!r} once in the source, found it {found} times: adapt the test"
    )
    return source.replace(text, broken)
