"""As `lnlab.book.style`, for the page modules that are left here."""

from lnlab.book.style import *  # noqa: F403
