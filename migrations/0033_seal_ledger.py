"""Adds seals: once a day, one signed hash of the ledger's new entries (`shared/ledger/seal.py`).

The models are frozen copies of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, BlobField, CompositeKey, Model, TextField, UUIDField


class LedgerSeal(Model):
    number = BigIntegerField(primary_key=True)
    started_at = BigIntegerField()
    sealed_at = BigIntegerField(null=True)
    document = TextField(null=True)
    public_key = TextField(null=True)
    chunks = BlobField(null=True)

    class Meta:
        legacy_table_names = False


class LedgerLeaf(Model):
    seal = BigIntegerField()
    position = BigIntegerField()
    account_id = UUIDField()
    first_seq = BigIntegerField()
    seq = BigIntegerField()
    head = BlobField()
    root = BlobField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("seal", "position")


LedgerLeaf.add_index(LedgerLeaf.index(LedgerLeaf.account_id, LedgerLeaf.seal, LedgerLeaf.position, name="ledger_leaf_by_account"))
MODELS = (LedgerSeal, LedgerLeaf)


def up(migrator, db):
    with db.bind_ctx(MODELS):
        db.create_tables(MODELS)


def down(migrator, db):
    with db.bind_ctx(MODELS):
        db.drop_tables(MODELS)
