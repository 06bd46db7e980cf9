"""Tables to read: rendered in a notebook, plain text in a terminal."""

from helpers.runtime import in_notebook


def show_table(header, rows):
    """Show a table; the first column is aligned left, the others right.

    Args:
        header: texts of the columns.
        rows: lists of as many texts or numbers.
    """
    lines = [[*map(str, header)], *([*map(str, row)] for row in rows)]
    if not in_notebook():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for first, *others in lines:
            cells = [f"{c:>{w}}" for c, w in zip(others, widths[1:], strict=True)]
            print("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())
        return
    from IPython.display import Markdown, display

    ruler = ["---", *["---:"] * (len(header) - 1)]
    text = [" | ".join(line) for line in (lines[0], ruler, *lines[1:])]
    display(Markdown("\n".join(f"| {line} |" for line in text)))
