-- Distributes Yout's tables over the nodes of a Citus cluster, by account. Run it with psql on the coordinator, as docs/scaling.md
-- says: after the first `yout migrate`, before the first account, and again after each later `yout migrate`. It is one
-- transaction, and skips tables that are already distributed.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL citus.enable_unsafe_triggers = on;  -- those of ledger_entry read only a reference table

CREATE OR REPLACE FUNCTION pg_temp.is_placed(name text) RETURNS boolean LANGUAGE sql
    RETURN EXISTS (SELECT FROM citus_tables WHERE table_name = name::regclass AND citus_table_type IN ('distributed', 'reference'));

-- Foreign keys to a distributed table are possible only from tables that are distributed in the same way; those are added again
-- below. Yout never deletes an account or a subscription, so nothing depends on the cascades of the others.
DO $$
DECLARE
    key record;
BEGIN
    FOR key IN
        SELECT conrelid::regclass AS owner, conname FROM pg_constraint
        WHERE contype = 'f' AND conparentid = 0 AND confrelid IN ('account'::regclass, 'subscription'::regclass)
            AND NOT pg_temp.is_placed(conrelid::regclass::text)
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.owner, key.conname);
    END LOOP;
END
$$;

-- Unique constraints of a distributed table must contain the account.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{subscription, stored_response, account_note, share}'::text[]
    LOOP
        IF NOT pg_temp.is_placed(name) THEN
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I, ADD PRIMARY KEY (id, account_id)', name, name || '_pkey');
        END IF;
    END LOOP;
    IF NOT pg_temp.is_placed('share') THEN
        DROP INDEX share_slug;
        CREATE INDEX share_slug ON share (slug);
    END IF;
    IF NOT pg_temp.is_placed('account') THEN
        DROP INDEX account_email;
        CREATE INDEX account_email ON account (email);
    END IF;
END
$$;

SELECT create_reference_table(name) FROM unnest(ARRAY[
    'plan', 'model', 'model_alias', 'channel', 'channel_check', 'channel_model', 'price', 'price_rate', 'price_draft',
    'price_check', 'catalog_version', 'api_key', 'web_session', 'person', 'person_identity',
    'person_passkey', 'email_change', 'person_recovery_code', 'member', 'invitation', 'media_job', 'purge_job'
]) AS name WHERE NOT pg_temp.is_placed(name);

SELECT create_distributed_table('account', 'id', colocate_with => 'none') WHERE NOT pg_temp.is_placed('account');

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'overage_entry', 'allowance', 'hold', 'ledger_entry', 'usage_ledger', 'idempotency_claim', 'subscription',
        'stored_response', 'share', 'account_note', 'webhook_secret'
    ]
    LOOP
        IF NOT pg_temp.is_placed(name) THEN
            PERFORM create_distributed_table(name, 'account_id', colocate_with => 'account');
            EXECUTE format('ALTER TABLE %I ADD FOREIGN KEY (account_id) REFERENCES account ON DELETE CASCADE', name);
        END IF;
    END LOOP;
    FOREACH name IN ARRAY ARRAY['account_usage', 'account_total', 'key_usage', 'tag_usage']
    LOOP
        IF NOT pg_temp.is_placed(name) THEN
            PERFORM create_distributed_table(name, 'account', colocate_with => 'account');
        END IF;
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
CREATE OR REPLACE FUNCTION yout_shard_of(account uuid) RETURNS bigint LANGUAGE sql STABLE
    RETURN get_shard_id_for_distribution_column('account', account);

COMMIT;
