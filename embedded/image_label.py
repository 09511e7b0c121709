"""The words on a demonstration: the prompt it was made for, and that it is no more than a demonstration."""

import re

from PIL import Image, ImageDraw, ImageFont

MARK = "DEMONSTRATION"
NOTE = "drawn by Yout without a model"
MOST_LINES = 2
MOST_CHARACTERS = 400
"""Of a prompt that are looked at: more than two lines hold on the widest picture, and measuring text takes its time."""


def caption(prompt: str, width: int, height: int) -> Image.Image:
    """A picture of that size, transparent but for the caption at its foot and a mark at its head."""
    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    unit = max(10, min(width, height) // 26)
    large, small = ImageFont.load_default(unit), ImageFont.load_default(max(9, round(unit * 0.62)))
    margin = round(unit * 1.1)
    lines = _lines(_printable(prompt), large, width - 2 * margin)
    foot = round(unit * 1.35) * len(lines) + round(unit * 2.0)
    _shade(layer, height - foot - unit, height)
    place = height - foot
    for line in lines:
        pen.text((margin, place), line, font=large, fill=(255, 255, 255, 245))
        place += round(unit * 1.35)
    pen.text((margin, place + unit * 0.25), NOTE, font=small, fill=(255, 255, 255, 190))
    _mark(pen, small, margin, unit)
    return layer


def _printable(prompt: str) -> str:
    """What the font can show, in one line. It knows Latin letters alone."""
    shown = re.sub(r"[^\x20-\x7e\u00a0-\u017f\u2010-\u2026]+", " ", prompt[:MOST_CHARACTERS])
    return " ".join(shown.split())


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < MOST_LINES:
        count = next((n for n in range(len(rest), 0, -1) if font.getlength(" ".join(rest[:n])) <= width), 0)
        if count:
            lines.append(" ".join(rest[:count]))
        else:  # one word that is wider than the picture
            fitting = next(n for n in range(len(rest[0]), 0, -1) if n == 1 or font.getlength(rest[0][:n] + "…") <= width)
            lines.append(rest[0][:fitting] + "…")
            count = 1
        rest = rest[count:]
    if rest and lines:
        lines[-1] = lines[-1].rstrip(".,;: …")
        while lines[-1] and font.getlength(lines[-1] + " …") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1] += " …"
    return lines


def _shade(layer: Image.Image, top: int, bottom: int) -> None:
    """Darker towards the foot, so that white letters stand out on every picture."""
    top = max(0, top)
    column = Image.new("L", (1, bottom - top))
    column.putdata([round(165 * ((row + 1) / (bottom - top)) ** 0.8) for row in range(bottom - top)])
    layer.paste((8, 10, 18, 255), (0, top, layer.width, bottom), column.resize((layer.width, bottom - top)))


def _mark(pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, margin: int, unit: int) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), MARK, font=font)
    pad_x, pad_y = round(unit * 0.5), round(unit * 0.32)
    box = (margin, margin, margin + right - left + 2 * pad_x, margin + bottom - top + 2 * pad_y)
    pen.rounded_rectangle(box, radius=(box[3] - box[1]) // 2, fill=(8, 10, 18, 150))
    pen.text((margin + pad_x - left, margin + pad_y - top), MARK, font=font, fill=(255, 255, 255, 235))
