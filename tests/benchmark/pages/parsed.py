"""A page's HTML as a tree, read by the standard library's parser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"img", "input", "br", "meta", "link", "hr"}


@dataclass
class Element:
    """A tag, its attributes, and what is in it: texts and elements."""

    tag: str
    attributes: dict[str, str]
    content: list[str | Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.content)

    @property
    def all(self) -> Iterator[Element]:
        """Yield all elements in it, in the order of the page."""
        for one in self.content:
            if isinstance(one, Element):
                yield one
                yield from one.all

    def find(self, tag: str, kind: str | None = None) -> list[Element]:
        """Return the elements of a tag, and of a class if one is named."""
        return [
            one
            for one in self.all
            if one.tag == tag and (kind is None or kind in one.attributes.get("class", "").split())
        ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute of {tag} comes twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        closed = self.open.pop()
        assert closed.tag == tag, f"</{tag}> closes <{closed.tag}>"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def parsed(html: str) -> Element:
    """Return the tree; every tag must be closed where it was opened."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root
