"""Configuration files: read, checked and made into a ``Plan``."""

from tapio.config.document import Document, document, load
from tapio.config.node import ConfigErrors
from tapio.config.profiles import profile

__all__ = ["ConfigErrors", "Document", "document", "load", "profile"]
