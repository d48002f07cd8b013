"""Ingest, validate, explore, clean, engineer features, split, register."""

from workflows.data_engineering.definition import build

__all__ = ["build"]
