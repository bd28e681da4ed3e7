"""The colours of amiweb.css follow the theme that a person chose in the admin, else the system's.

The page is made of the admin's style sheets and ours alone: the rest of the product doesn't matter here.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from tests.browser.chromium import Visitor

STYLES = Path(__file__).parents[2] / "ami_integration" / "static" / "ami_integration"
KINDS = ("good", "busy", "warn", "bad", "idle")


def page_of(theme: str | None) -> str:
    """Badges of each kind, as a page with the admin's sheets has them."""
    admin = resources.files("django.contrib.admin").joinpath("static", "admin", "css")
    sheets = [admin.joinpath(name).read_text() for name in ("base.css", "dark_mode.css")]
    sheets.append((STYLES / "amiweb.css").read_text())
    sheets += [f"#{kind} {{background: var(--aw-{kind}-bg); color: var(--aw-{kind}-fg)}}" for kind in KINDS]
    badges = "".join(f'<p id="{kind}">{kind}</p>' for kind in KINDS)
    chosen = f' data-theme="{theme}"' if theme else ""
    return f"<!DOCTYPE html><html{chosen}><style>{''.join(sheets)}</style><body>{badges}"


def colours(visitor: Visitor, theme: str | None, system: str) -> dict[str, tuple[str, str]]:
    page = visitor.tab()
    page.emulate_media(color_scheme=system)
    page.set_content(page_of(theme))
    found: dict[str, list[str]] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("p")].map((one) => {
            const style = getComputedStyle(one);
            return [one.id, [style.backgroundColor, style.color]];
        }))"""
    )
    page.close()
    return {kind: (back, front) for kind, (back, front) in found.items()}


def luminance(colour: str) -> float:
    """As WCAG 2 defines it, of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)]
    assert len(parts) == 3, colour
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.browser
@pytest.mark.parametrize(
    ("theme", "system", "shown"),
    [
        (None, "light", "light"),
        (None, "dark", "dark"),
        ("auto", "light", "light"),
        ("auto", "dark", "dark"),
        ("light", "dark", "light"),
        ("dark", "light", "dark"),
    ],
)
def test_the_person_chooses_the_theme_and_else_the_system(
    visitor: Visitor, theme: str | None, system: str, shown: str
) -> None:
    for kind, (back, front) in colours(visitor, theme, system).items():
        lighter, darker = sorted((luminance(back), luminance(front)), reverse=True)
        assert (luminance(back) > luminance(front)) is (shown == "light"), kind
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{kind} has too little contrast"


def test_every_colour_is_defined_once_and_used() -> None:
    sheets = {path.name: path.read_text() for path in STYLES.rglob("*.css")}
    defined = re.findall(r"^\s*(--aw-[\w-]+):", "\n".join(sheets.values()), re.MULTILINE)
    used = set(re.findall(r"var\((--aw-[\w-]+)\)", "\n".join(sheets.values())))
    assert len(defined) == len(set(defined))
    assert set(defined) == used
