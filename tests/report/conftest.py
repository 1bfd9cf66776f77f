"""Pages are opened in a headless Chromium."""

from headless import browser, open_page

__all__ = ["browser", "open_page"]
