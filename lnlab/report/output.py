"""As `lnlab.book.output`, for the page modules that are left here."""

from lnlab.book.output import *  # noqa: F403
