"""Configuration files: read, checked and made into a ``Plan``."""

from tapio.config.document import Document, document, load
from tapio.config.node import ConfigErrors

__all__ = ["ConfigErrors", "Document", "document", "load"]
