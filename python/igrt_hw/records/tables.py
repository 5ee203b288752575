"""The tables of a record belong to one description, so that one file holds them all."""

from sqlalchemy import MetaData

METADATA = MetaData()
