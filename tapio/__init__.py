"""Tapio: streaming telemetry pipelines, and the node agent built from them."""
