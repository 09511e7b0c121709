"""Draws the caption of demo images and videos: the prompt, and the note that they are demonstrations."""

import re

from PIL import Image, ImageDraw, ImageFont

BADGE_TEXT = "DEMONSTRATION"
NOTE = "drawn by Yout without a model"
MAX_LINES = 2
MAX_CHARACTERS = 400
"""Prompt characters considered: more than fit in two lines of the widest image. Measuring text is slow."""


def draw_caption(prompt: str, width: int, height: int) -> Image.Image:
    """Return a transparent image of that size, with the caption at the bottom and a mark at the top."""
    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    unit = max(10, min(width, height) // 26)
    large, small = ImageFont.load_default(unit), ImageFont.load_default(max(9, round(unit * 0.62)))
    margin = round(unit * 1.1)
    lines = _lines(_printable(prompt), large, width - 2 * margin)
    caption_height = round(unit * 1.35) * len(lines) + round(unit * 2.0)
    _shade(layer, height - caption_height - unit, height)
    baseline = height - caption_height
    for line in lines:
        pen.text((margin, baseline), line, font=large, fill=(255, 255, 255, 245))
        baseline += round(unit * 1.35)
    pen.text((margin, baseline + unit * 0.25), NOTE, font=small, fill=(255, 255, 255, 190))
    _mark(pen, small, margin, unit)
    return layer


def _printable(prompt: str) -> str:
    """Return the text on one line, without characters that the font lacks: it only has Latin letters."""
    shown = re.sub(r"[^\x20-\x7e\u00a0-\u017f\u2010-\u2026]+", " ", prompt[:MAX_CHARACTERS])
    return " ".join(shown.split())


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < MAX_LINES:
        count = next((n for n in range(len(rest), 0, -1) if font.getlength(" ".join(rest[:n])) <= width), 0)
        if count:
            lines.append(" ".join(rest[:count]))
        else:  # a word wider than the image
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
    """Darken the layer towards the bottom, so that white text is readable on every image."""
    top = max(0, top)
    column = Image.new("L", (1, bottom - top))
    column.putdata([round(165 * ((row + 1) / (bottom - top)) ** 0.8) for row in range(bottom - top)])
    layer.paste((8, 10, 18, 255), (0, top, layer.width, bottom), column.resize((layer.width, bottom - top)))


def _mark(pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, margin: int, unit: int) -> None:
    left, top, right, bottom = pen.textbbox((0, 0), BADGE_TEXT, font=font)
    pad_x, pad_y = round(unit * 0.5), round(unit * 0.32)
    box = (margin, margin, margin + right - left + 2 * pad_x, margin + bottom - top + 2 * pad_y)
    pen.rounded_rectangle(box, radius=(box[3] - box[1]) // 2, fill=(8, 10, 18, 150))
    pen.text((margin + pad_x - left, margin + pad_y - top), BADGE_TEXT, font=font, fill=(255, 255, 255, 235))
