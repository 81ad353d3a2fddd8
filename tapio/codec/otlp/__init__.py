"""Batch → OpenTelemetry logs (OTLP protobuf), by columns.

wire.py        varints and fields
gather.py      scattered bytes → one run of bytes
attributes.py  a column → its attributes
vocabulary.py  the same for coded text
rows.py        a batch → what its log records consist of
compact.py     … laid out as they are
padded.py      … laid out by templates of one length
resources.py   what precedes the rows of an entity
encoder.py     all of it: Encoder
"""

from tapio.codec.otlp.encoder import Encoder, Encoding

__all__ = ["Encoder", "Encoding"]
