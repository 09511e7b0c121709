"""Numbered schema migrations, run in order by `shared.core.schema_version` with Peewee's own runner."""
