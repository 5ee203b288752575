"""Dark, light and high contrast.

Grey is normal. Alarm colours follow IEC 60601-1-8 (red, yellow, cyan) in hues of Okabe and Ito that
stay apart for colour-blind eyes, and every coloured text carries a symbol or a word besides.
"""

from textual.theme import Theme

_DARK = {
    "igrt-dim": "#8a9199",
    "igrt-strong": "#f2f4f5",
    "igrt-key": "#2f3c48",
    "igrt-ok": "#b8c4cc",
    "igrt-info": "#b8c4cc",
    "igrt-low": "#56b4e9",
    "igrt-medium": "#f0e442",
    "igrt-high": "#c23b00",
    "igrt-high-text": "#ffffff",
    "igrt-banner": "#6a3d8f",
    "igrt-banner-text": "#ffffff",
    "igrt-field": "#22282e",
}
_LIGHT = {
    "igrt-dim": "#5c646b",
    "igrt-strong": "#0a0c0e",
    "igrt-key": "#cfd8e0",
    "igrt-ok": "#2b3942",
    "igrt-info": "#2b3942",
    "igrt-low": "#00598c",
    "igrt-medium": "#7a4b00",
    "igrt-high": "#b33600",
    "igrt-high-text": "#ffffff",
    "igrt-banner": "#6a3d8f",
    "igrt-banner-text": "#ffffff",
    "igrt-field": "#ffffff",
}
_CONTRAST = {
    "igrt-dim": "#d0d0d0",
    "igrt-strong": "#ffffff",
    "igrt-key": "#0000b0",
    "igrt-ok": "#ffffff",
    "igrt-info": "#ffffff",
    "igrt-low": "#00ffff",
    "igrt-medium": "#ffff00",
    "igrt-high": "#ffffff",
    "igrt-high-text": "#b00000",
    "igrt-banner": "#ff00ff",
    "igrt-banner-text": "#000000",
    "igrt-field": "#000000",
}

THEMES: dict[str, Theme] = {
    "dark": Theme(
        name="igrt-dark",
        primary="#7f8c96",
        foreground="#c7ced4",
        background="#14181b",
        surface="#14181b",
        panel="#1c2125",
        warning="#f0e442",
        error="#c23b00",
        success="#b8c4cc",
        dark=True,
        variables=_DARK,
    ),
    "light": Theme(
        name="igrt-light",
        primary="#56626b",
        foreground="#22282d",
        background="#eef0f1",
        surface="#eef0f1",
        panel="#e2e6e8",
        warning="#7a4b00",
        error="#b33600",
        success="#2b3942",
        dark=False,
        variables=_LIGHT,
    ),
    "contrast": Theme(
        name="igrt-contrast",
        primary="#ffffff",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        warning="#ffff00",
        error="#ffffff",
        success="#ffffff",
        dark=True,
        variables=_CONTRAST,
    ),
}
DEFAULT_VARIABLES = _DARK


def variables_of(theme: str) -> dict[str, str]:
    """Return the colours of a theme by the name that the app knows it by; those of the dark one for any other."""
    known = next((found for found in THEMES.values() if found.name == theme), None)
    return known.variables if known is not None else DEFAULT_VARIABLES
