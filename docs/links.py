"""Check that the links inside the built pages lead somewhere: ``python docs/links.py docs/_build/html``.

Sphinx checks the references that it makes itself. This looks at what has come out: links in raw text, pictures,
downloads, and places within pages.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the places in it that links can lead to."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if ("class", "viewcode-back") in attrs:
            # From a source text back to its page, by whichever of a function's names Sphinx met last.
            attrs = [(name, value.split("#")[0] if name == "href" else value) for name, value in attrs]
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.places.add(value)
            elif name in ("href", "src") and value and tag != "base":
                self.links.append(value)


def broken_links(folder):
    """The links inside a folder's pages that lead nowhere, as pairs of page and link."""
    folder = Path(folder).resolve()
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            place = unquote(parts.fragment)
            lost = place and target in pages and place not in pages[target].places
            if not target.is_file() or lost:
                broken.append((str(path.relative_to(folder)), link))
    return broken


def main(folder):
    found = sorted(set(broken_links(folder)))
    for page, link in found:
        print(f"{page}: {link}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
