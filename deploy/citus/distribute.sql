-- Distributes Yout's tables over the nodes of a Citus cluster, by account. Run it once with psql on the coordinator, after
-- `yout migrate` and before the first account, as docs/scaling.md says. It is one transaction.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL citus.enable_unsafe_triggers = on;  -- those of ledger_entry read only a reference table

-- Foreign keys to a distributed table are possible only from tables that are distributed in the same way; those are added again
-- below. Yout never deletes an account or a subscription, so nothing depends on the cascades of the others.
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN
        SELECT conrelid::regclass AS owner, conname FROM pg_constraint
        WHERE contype = 'f' AND conparentid = 0 AND confrelid IN ('account'::regclass, 'subscription'::regclass)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.owner, key.conname);
    END LOOP;
END
$$;

-- Unique constraints of a distributed table must contain the account.
ALTER TABLE subscription DROP CONSTRAINT subscription_pkey, ADD PRIMARY KEY (id, account_id);
ALTER TABLE stored_response DROP CONSTRAINT stored_response_pkey, ADD PRIMARY KEY (id, account_id);
ALTER TABLE account_note DROP CONSTRAINT account_note_pkey, ADD PRIMARY KEY (id, account_id);
ALTER TABLE share DROP CONSTRAINT share_pkey, ADD PRIMARY KEY (id, account_id);
DROP INDEX share_slug;
CREATE INDEX share_slug ON share (slug);
DROP INDEX account_email;
CREATE INDEX account_email ON account (email);

SELECT create_reference_table(name) FROM unnest(ARRAY[
    'plan', 'model', 'model_alias', 'channel', 'channel_check', 'channel_model', 'price', 'price_rate', 'price_draft',
    'price_check', 'catalog_version', 'api_key', 'web_session', 'person', 'member', 'invitation', 'media_job', 'purge_job'
]) AS name;

SELECT create_distributed_table('account', 'id', colocate_with => 'none');

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'overage_entry', 'allowance', 'hold', 'ledger_entry', 'usage_ledger', 'idempotency_claim', 'subscription',
        'stored_response', 'share', 'account_note', 'webhook_secret'
    ]
    LOOP
        PERFORM create_distributed_table(name, 'account_id', colocate_with => 'account');
        EXECUTE format('ALTER TABLE %I ADD FOREIGN KEY (account_id) REFERENCES account ON DELETE CASCADE', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['account_usage', 'account_total', 'key_usage', 'tag_usage']
    LOOP
        PERFORM create_distributed_table(name, 'account', colocate_with => 'account');
    END LOOP;
END
$$;

-- Statements that change all shards use one connection per node, because a transaction may change a reference table afterwards.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET citus.multi_shard_modify_mode = sequential', current_database());
END
$$;

-- The shard of an account: edges group their calls by it.
CREATE FUNCTION yout_shard_of(account uuid) RETURNS bigint LANGUAGE sql STABLE
    RETURN get_shard_id_for_distribution_column('account', account);

COMMIT;
