"""A self-contained HTML page: text is escaped, figures are embedded, nothing is fetched."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

__all__ = ["Cell", "definitions", "document", "figure", "section", "table", "write_atomically"]

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --line: #d0d7de;
  --page: #ffffff; --card: #f6f8fa; --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ed; --soft: #9aa4af; --line: #3a424b;
  --page: #14181d; --card: #1d232a; --accent: #6cb8e6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 74rem; color: var(--text);
  background: var(--page); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p, li { max-width: 48rem; }
.lead { font-size: 1.05rem; color: var(--soft); }
.findings { background: var(--card); border-left: 4px solid var(--accent); margin: 1.25rem 0;
  padding: .75rem 1rem .75rem 1.25rem; border-radius: 0 6px 6px 0; }
.findings h2 { border: 0; margin: 0 0 .25rem; padding: 0; font-size: 1.05rem; }
.findings ul { margin: 0; padding-left: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: .75rem 0; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .38rem .55rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td small, th small { display: block; color: var(--soft); font-weight: 400; white-space: nowrap; }
td:first-child small, th small { white-space: normal; }
td:first-child { max-width: 14rem; }
tr.baseline td { color: var(--soft); }
td.best { font-weight: 700; }
figure { margin: 1rem 0 1.5rem; }
figure img { max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line);
  border-radius: 6px; display: block; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: .4rem; max-width: 48rem; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .3rem 1.2rem;
  font-size: .9rem; }
dt { font-weight: 600; }
dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
@media print { body { max-width: none; padding: 0; font-size: 11px; color: #000000;
    background: #ffffff; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } .scroll { overflow: visible; } }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
"""


class Cell:
    """A table cell: main text, a small second line, and whether it is the best of its column.

    Args:
        text: Main text.
        detail: Second line in small print.
        is_best: Shown in bold.
        is_text: Left aligned.
    """

    def __init__(
        self, text: str, detail: str = "", *, is_best: bool = False, is_text: bool = False
    ) -> None:
        self.text, self.detail, self.is_best, self.is_text = text, detail, is_best, is_text

    def html(self, tag: str) -> str:
        """The cell as a `td` or `th` element."""
        names = [name for name in ("best", "text") if getattr(self, f"is_{name}")]
        attribute = f' class="{" ".join(names)}"' if names else ""
        detail = f"<small>{escape(self.detail)}</small>" if self.detail else ""
        return f"<{tag}{attribute}>{escape(self.text)}{detail}</{tag}>"


def table(
    header: Sequence[Cell],
    rows: Sequence[tuple[str, Sequence[Cell]]],
    *,
    caption: str = "",
) -> str:
    """A table; each row is a class name ("" or "baseline") and its cells."""
    head = "".join(cell.html("th") for cell in header)
    body = "".join(
        f'<tr class="{escape(kind)}">{"".join(cell.html("td") for cell in cells)}</tr>\n'
        for kind, cells in rows
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{above}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def figure(image: bytes, *, alternative: str, caption: str) -> str:
    """A PNG or GIF, embedded, with a caption."""
    kind = "gif" if image.startswith(b"GIF8") else "png"
    data = base64.b64encode(image).decode()
    return (
        f'<figure><img alt="{escape(alternative)}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def definitions(entries: Mapping[str, object]) -> str:
    """Names and what they are."""
    items = (f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in entries.items())
    return f"<dl>{''.join(items)}</dl>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; empty parts are left out."""
    body = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def document(title: str, *, lead: str, findings: Sequence[str], sections: Sequence[str]) -> str:
    """The whole page."""
    found = "".join(f"<li>{escape(line)}</li>" for line in findings)
    box = f'<div class="findings"><h2>What was found</h2><ul>{found}</ul></div>' if found else ""
    body = "\n".join(part for part in sections if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        + (f'<p class="lead">{escape(lead)}</p>\n' if lead else "")
        + f"{box}\n{body}\n</body>\n</html>\n"
    )


def write_atomically(path: Path, text: str) -> None:
    """Write beside the final name and rename: a killed run leaves no half-written file there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
