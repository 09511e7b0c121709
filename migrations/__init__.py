"""Numbered schema migrations, run in order by `shared.schema` with Peewee's own runner."""
