-- Part 1: from a cluster's closed hour to the books. Every name is written with its schema:
-- behind a pooler a search_path cannot be relied on, and `public` is never touched.
-- Money: BIGINT nano-units of the cluster's currency. Time: timestamptz; an hour is its start.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- ── identity ────────────────────────────────────────────────────────────────────────────────

CREATE TABLE hopsmeter.users (
    id text PRIMARY KEY CHECK (id ~ '^[^\s|]+\|[^\s]+$'),   -- the Auth0 subject
    no int GENERATED ALWAYS AS IDENTITY UNIQUE,              -- the compact number in facts
    email text NOT NULL,
    name text NOT NULL DEFAULT '',
    account_owner_id text REFERENCES hopsmeter.users (id),
    is_admin boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
    billing_mode text NOT NULL DEFAULT 'postpaid'
        CHECK (billing_mode IN ('postpaid', 'prepaid', 'hybrid')),
    stripe_customer_id text,
    stripe_subscription_id text,
    hopsworks_username text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_email ON hopsmeter.users (lower(email));

CREATE TABLE hopsmeter.logins (
    role name PRIMARY KEY,
    user_id text NOT NULL REFERENCES hopsmeter.users (id),
    may_assert boolean NOT NULL DEFAULT false,   -- only the role of the forced-command account
    created_at timestamptz NOT NULL DEFAULT now()
);

-- ── audit ───────────────────────────────────────────────────────────────────────────────────

CREATE TABLE hopsmeter.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,        -- a user id, or 'daemon', or 'setup' before there is a user
    via text NOT NULL,          -- how they came in: 'command', 'setup', 'daemon'
    role name NOT NULL DEFAULT session_user,
    command_id bigint,
    action text NOT NULL,       -- the command's name, such as 'cluster.add'
    subject text NOT NULL,      -- what it was done to, in words
    before jsonb,
    after jsonb,
    why text NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_subject ON hopsmeter.audit_log (subject, id);

CREATE FUNCTION hopsmeter.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON hopsmeter.audit_log
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON hopsmeter.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- ── commands: every write that a person asks for ────────────────────────────────────────────

CREATE TABLE hopsmeter.commands (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key uuid NOT NULL UNIQUE,            -- chosen by the terminal: the same key is the same command
    role name NOT NULL DEFAULT session_user,
    person text,                         -- asserted; believed only where logins.may_assert
    name text NOT NULL,
    arguments jsonb NOT NULL DEFAULT '{}',
    sealed jsonb,                        -- {field: base64 HPKE blob}; erased when the command ends
    dry_run boolean NOT NULL DEFAULT false,
    why text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'submitted'
        CHECK (state IN ('submitted', 'working', 'done', 'refused', 'failed')),
    result jsonb,
    error text,
    tries int NOT NULL DEFAULT 0,
    lease_token uuid,
    lease_until timestamptz,
    lease_pid int,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    -- Whoever may log in may submit: nobody may fill the disk, or the daemon's memory, with it.
    CONSTRAINT commands_person_size CHECK (char_length(person) <= 255),
    CONSTRAINT commands_name_size CHECK (char_length(name) <= 100),
    CONSTRAINT commands_arguments_size CHECK (octet_length(arguments::text) <= 65536),
    CONSTRAINT commands_sealed_size CHECK (octet_length(sealed::text) <= 1048576),
    CONSTRAINT commands_why_size CHECK (char_length(why) <= 1000)
);
CREATE INDEX commands_open ON hopsmeter.commands (id) WHERE state IN ('submitted', 'working');

-- The database stamps who submits; a client cannot say it is somebody else.
CREATE FUNCTION hopsmeter.stamp_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.role := session_user;
    NEW.state := 'submitted';
    NEW.submitted_at := now();
    NEW.result := NULL;
    PERFORM pg_notify('hopsmeter_commands', NEW.id::text);
    RETURN NEW;
END $$;
CREATE TRIGGER commands_stamp BEFORE INSERT ON hopsmeter.commands
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.stamp_command();

CREATE FUNCTION hopsmeter.tell_command_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hopsmeter_ended', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER commands_ended AFTER UPDATE OF state ON hopsmeter.commands
    FOR EACH ROW WHEN (NEW.state IN ('done', 'refused', 'failed'))
    EXECUTE FUNCTION hopsmeter.tell_command_ended();

-- ── daemons and their keys ──────────────────────────────────────────────────────────────────

CREATE TABLE hopsmeter.daemons (
    name text PRIMARY KEY,              -- host and state folder: one row per installation
    pid int NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    stopped_at timestamptz
);

CREATE TABLE hopsmeter.secret_keys (
    key_id text PRIMARY KEY,
    canary bytea NOT NULL,              -- sealed with this key; proves at start that it is here
    public_key text NOT NULL,           -- what a terminal seals to
    is_primary boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX secret_keys_primary ON hopsmeter.secret_keys (is_primary) WHERE is_primary;

-- ── clusters ────────────────────────────────────────────────────────────────────────────────

CREATE TABLE hopsmeter.hopsworks_clusters (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,   -- what sealed records are bound to
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    api_url text NOT NULL CHECK (api_url ~ '^https?://[^\s]+$'),
    api_key_sealed bytea,
    kubeconfig_sealed bytea NOT NULL,
    server_url text NOT NULL,
    ca_pem text NOT NULL DEFAULT '',
    credentials_expire_at timestamptz,
    opencost_namespace text NOT NULL DEFAULT 'opencost',
    opencost_selector text NOT NULL DEFAULT '',
    opencost_container text NOT NULL DEFAULT '',
    opencost_service text NOT NULL DEFAULT 'opencost',
    opencost_port int NOT NULL DEFAULT 9003 CHECK (opencost_port BETWEEN 1 AND 65535),
    opencost_cluster_id text,           -- as first seen; another one later is another cluster
    transport text NOT NULL DEFAULT 'exec' CHECK (transport IN ('exec', 'proxy')),
    currency text NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
    max_users int CHECK (max_users >= 0),
    system_namespaces text[] NOT NULL,
    sentinel_namespace text NOT NULL DEFAULT 'kube-system',
    cost_max_nano bigint NOT NULL CHECK (cost_max_nano > 0),      -- of the whole cluster, an hour
    cores_max int NOT NULL CHECK (cores_max > 0),
    gpus_max int NOT NULL CHECK (gpus_max > 0),
    ram_max_bytes bigint NOT NULL CHECK (ram_max_bytes > 0),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'removed')),
    status_why text NOT NULL DEFAULT '',
    paused_since timestamptz,
    metering_since timestamptz NOT NULL
        CHECK (date_trunc('hour', metering_since, 'UTC') = metering_since),
    last_asked_at timestamptz,
    last_answered_at timestamptz,
    last_outcome text NOT NULL DEFAULT 'never asked',
    failures int NOT NULL DEFAULT 0,    -- visits that failed in a row
    next_visit_at timestamptz,          -- null: at once; a cluster that fails is left alone a while
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX clusters_one_source ON hopsmeter.hopsworks_clusters
    (server_url, opencost_namespace, opencost_selector, opencost_port) WHERE status <> 'removed';

CREATE TABLE hopsmeter.namespaces (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id int NOT NULL REFERENCES hopsmeter.hopsworks_clusters (id),
    name text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,     -- to the day: raised once a day, not on each hour
    UNIQUE (cluster_id, name)
) WITH (fillfactor = 80);

CREATE TABLE hopsmeter.user_projects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id int NOT NULL REFERENCES hopsmeter.hopsworks_clusters (id),
    namespace text NOT NULL,
    user_no int NOT NULL REFERENCES hopsmeter.users (no),
    project text NOT NULL DEFAULT '',
    valid tstzrange NOT NULL CHECK (
        NOT isempty(valid) AND lower_inc(valid) AND NOT upper_inc(valid)
        AND date_trunc('hour', lower(valid), 'UTC') = lower(valid)
        AND (upper_inf(valid) OR date_trunc('hour', upper(valid), 'UTC') = upper(valid))),
    source text NOT NULL DEFAULT 'hand' CHECK (source IN ('sync', 'hand')),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    CONSTRAINT user_projects_one_owner
        EXCLUDE USING gist (cluster_id WITH =, namespace WITH =, valid WITH &&)
);
CREATE INDEX user_projects_user ON hopsmeter.user_projects (user_no);
-- For the owners of a whole cluster, which a store asks for: the other one takes 6 ms for it.
CREATE INDEX user_projects_cluster ON hopsmeter.user_projects (cluster_id);

-- Raised by everything that changes who owns what: lets the hot path keep what it resolved.
CREATE TABLE hopsmeter.ownership_epoch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL
);
INSERT INTO hopsmeter.ownership_epoch (epoch) VALUES (1);

-- ── rates: the default plan, and the one function that makes a charge ───────────────────────

CREATE TABLE hopsmeter.rate_plans (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('cost_plus')),
    is_default boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX rate_plans_default ON hopsmeter.rate_plans (is_default) WHERE is_default;

CREATE TABLE hopsmeter.rate_plan_versions (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id int NOT NULL REFERENCES hopsmeter.rate_plans (id),
    valid_from timestamptz NOT NULL,
    factor numeric(12, 6) NOT NULL CHECK (factor >= 0),
    UNIQUE (plan_id, valid_from)
);
INSERT INTO hopsmeter.rate_plans (name, kind, is_default) VALUES ('default', 'cost_plus', true);
INSERT INTO hopsmeter.rate_plan_versions (plan_id, valid_from, factor)
    SELECT id, '2000-01-01 00:00:00+00', 1 FROM hopsmeter.rate_plans;

-- The exact sum of money, or of hours and bytes: an error where a bigint cannot hold it. PostgreSQL's
-- own sum(bigint) goes by way of numeric, which takes half as long again.
CREATE AGGREGATE hopsmeter.sum_nano(bigint) (
    sfunc = int8pl, stype = bigint, combinefunc = int8pl, parallel = safe);

-- The charge for one allocation, half-even to the nano; PostgreSQL's round() goes away from zero.
-- Not STRICT: a strict function is not inlined, and then costs 6 µs a row instead of nothing.
CREATE FUNCTION hopsmeter.charge_nano(total_nano bigint, factor numeric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN factor = 1 THEN total_nano
    WHEN abs(total_nano * factor - trunc(total_nano * factor)) = 0.5
        THEN (2 * round(total_nano * factor / 2))::bigint
    ELSE round(total_nano * factor)::bigint
END;

-- ── hours ───────────────────────────────────────────────────────────────────────────────────

-- The ledger of hours: one row per cluster and hour since metering began, and nothing else says
-- what is missing. "Collecting" is not a state but a lease that runs: so an hour that is read
-- again keeps saying what the books hold of it.
CREATE TABLE hopsmeter.collection_windows (
    cluster_id int NOT NULL REFERENCES hopsmeter.hopsworks_clusters (id),
    hour timestamptz NOT NULL CHECK (date_trunc('hour', hour, 'UTC') = hour),
    state text NOT NULL DEFAULT 'due' CHECK (state IN
        ('due', 'collected', 'settled', 'failed', 'refused', 'held', 'gap', 'waived')),
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz,            -- null: nothing more to ask
    fault text,                         -- the name of what is wrong, such as 'two-clusters'
    why text NOT NULL DEFAULT '',
    accepted boolean NOT NULL DEFAULT false,   -- an admin took an answer that was refused or held
    decided_by text,
    flags text[] NOT NULL DEFAULT '{}',
    revision int NOT NULL DEFAULT 0,    -- 0: no allocations are stored
    raw_sha256 bytea,                   -- the answer that the stored allocations come from
    row_count int NOT NULL DEFAULT 0,
    total_nano bigint NOT NULL DEFAULT 0,
    pending_sha256 bytea,               -- the refused or held answer that waits for a person
    collected_at timestamptz,
    settled_at timestamptz,
    stored_no bigint NOT NULL DEFAULT 0,
    posted_no bigint NOT NULL DEFAULT 0,
    lease_token uuid,
    lease_until timestamptz,
    lease_pid int,
    lease_by text,
    PRIMARY KEY (cluster_id, hour)
) WITH (fillfactor = 70);
CREATE INDEX windows_due ON hopsmeter.collection_windows (next_try_at)
    WHERE next_try_at IS NOT NULL;
CREATE INDEX windows_leased ON hopsmeter.collection_windows (lease_until)
    WHERE lease_until IS NOT NULL;
CREATE INDEX windows_unposted ON hopsmeter.collection_windows (hour)
    WHERE stored_no <> posted_no;
-- What screens count by state: about a day of rows per cluster, however long its history.
CREATE INDEX windows_unsettled ON hopsmeter.collection_windows (cluster_id, state)
    WHERE state <> 'settled';

-- What OpenCost said, once per distinct answer: the same answer again is the same row.
CREATE TABLE hopsmeter.raw_answers (
    hour timestamptz NOT NULL,
    cluster_id int NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    size_bytes int NOT NULL,
    body bytea,                         -- zstd; null where the size cap forbade keeping it
    asked_at timestamptz NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('stored', 'refused', 'held')),
    PRIMARY KEY (hour, cluster_id, sha256)
) PARTITION BY RANGE (hour);
ALTER TABLE hopsmeter.raw_answers ALTER COLUMN body SET STORAGE EXTERNAL;

-- kind: 0 unmapped, 1 user, 2 system, 3 idle, 4 unmounted (hopsmeter.allocation_kinds).
-- flags: 1 a cost is below zero, 2 minutes below zero without money, 4 gone in a later answer.
CREATE TABLE hopsmeter.allocations (
    hour timestamptz NOT NULL,
    namespace_id int NOT NULL,
    cluster_id int NOT NULL,
    kind smallint NOT NULL,
    flags smallint NOT NULL,
    revision int NOT NULL,
    user_no int,
    account_no int,
    plan_version_id int,
    cpu_nano bigint NOT NULL,
    gpu_nano bigint NOT NULL,
    ram_nano bigint NOT NULL,
    pv_nano bigint NOT NULL,
    network_nano bigint NOT NULL,
    load_balancer_nano bigint NOT NULL,
    shared_nano bigint NOT NULL,
    external_nano bigint NOT NULL,
    adjustment_nano bigint NOT NULL,
    rounding_nano bigint NOT NULL,
    total_nano bigint NOT NULL,
    cpu_core_hours_micro bigint NOT NULL,
    gpu_hours_micro bigint NOT NULL,
    ram_byte_hours bigint NOT NULL,
    pv_byte_hours bigint NOT NULL,
    network_transfer_bytes bigint NOT NULL,
    network_receive_bytes bigint NOT NULL,
    minutes_micro bigint NOT NULL,
    efficiency_ppm int NOT NULL,        -- used of requested; -1 where OpenCost gives none
    PRIMARY KEY (hour, namespace_id)
) PARTITION BY RANGE (hour);

CREATE TABLE hopsmeter.allocation_kinds (kind smallint PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO hopsmeter.allocation_kinds VALUES
    (0, 'unmapped'), (1, 'user'), (2, 'system'), (3, 'idle'), (4, 'unmounted');

-- The revisions that were replaced, as they were, and when and why.
CREATE TABLE hopsmeter.allocation_history (
    LIKE hopsmeter.allocations,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    replaced_why text NOT NULL,
    raw_sha256 bytea,                   -- the answer that this revision came from
    PRIMARY KEY (hour, namespace_id, revision)
);
CREATE TRIGGER allocation_history_append_only
    BEFORE UPDATE OR DELETE ON hopsmeter.allocation_history
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER allocation_history_no_truncate BEFORE TRUNCATE ON hopsmeter.allocation_history
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- Makes the monthly partitions that hold `month`; safe to call by many at once, any time.
CREATE FUNCTION hopsmeter.ensure_partitions(month timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz := date_trunc('month', month, 'UTC');
    suffix text := to_char(first, 'YYYY_MM');
    parent text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['allocations', 'raw_answers'] LOOP
        IF to_regclass(format('hopsmeter.%I', parent || '_' || suffix)) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('hopsmeter.partitions'));
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS hopsmeter.%I PARTITION OF hopsmeter.%I
                 FOR VALUES FROM (%L) TO (%L)',
                parent || '_' || suffix, parent, first, first + interval '1 month');
        END IF;
    END LOOP;
END $$;

-- Drops one month of raw answers; what the books keep of them are the hashes and sums.
CREATE FUNCTION hopsmeter.drop_raw_answers(month timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    EXECUTE format('DROP TABLE IF EXISTS hopsmeter.%I',
                   'raw_answers_' || to_char(date_trunc('month', month, 'UTC'), 'YYYY_MM'));
END $$;
REVOKE ALL ON FUNCTION hopsmeter.drop_raw_answers(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION hopsmeter.ensure_partitions(timestamptz) FROM PUBLIC;

-- ── daily rows: derived from that day's allocations, always ─────────────────────────────────

CREATE TABLE hopsmeter.postings (
    day date NOT NULL,
    no int NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, no)
);

-- One row per cluster and day that was posted; closed once the day is over and its rows written.
CREATE TABLE hopsmeter.cluster_days (
    cluster_id int NOT NULL REFERENCES hopsmeter.hopsworks_clusters (id),
    day date NOT NULL,
    closed_at timestamptz,
    PRIMARY KEY (cluster_id, day)
);
CREATE INDEX cluster_days_open ON hopsmeter.cluster_days (day) WHERE closed_at IS NULL;

CREATE TABLE hopsmeter.usage_daily (
    user_no int NOT NULL REFERENCES hopsmeter.users (no),
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    cluster_id int NOT NULL REFERENCES hopsmeter.hopsworks_clusters (id),
    date date NOT NULL,
    opencost_cpu_nano bigint NOT NULL,
    opencost_gpu_nano bigint NOT NULL,
    opencost_ram_nano bigint NOT NULL,
    opencost_pv_nano bigint NOT NULL,
    opencost_network_nano bigint NOT NULL,
    opencost_other_nano bigint NOT NULL,   -- load balancer, shared, external, adjustment, rounding
    opencost_total_nano bigint NOT NULL,
    charge_nano bigint NOT NULL,
    project_breakdown jsonb,               -- per namespace; written when the day closes
    PRIMARY KEY (date, cluster_id, user_no, account_no)
) WITH (fillfactor = 70);

CREATE TABLE hopsmeter.cost_daily (
    date date NOT NULL,
    cluster_id int NOT NULL,
    namespace_id int NOT NULL,
    kind smallint NOT NULL,
    user_no int NOT NULL,                  -- 0: nobody's
    account_no int NOT NULL,
    hours int NOT NULL,
    cpu_nano bigint NOT NULL,
    gpu_nano bigint NOT NULL,
    ram_nano bigint NOT NULL,
    pv_nano bigint NOT NULL,
    network_nano bigint NOT NULL,
    other_nano bigint NOT NULL,
    total_nano bigint NOT NULL,
    charge_nano bigint NOT NULL,
    first_hour timestamptz NOT NULL,
    last_hour timestamptz NOT NULL,
    cpu_core_hours_micro bigint NOT NULL,
    gpu_hours_micro bigint NOT NULL,
    ram_byte_hours bigint NOT NULL,
    pv_byte_hours bigint NOT NULL,
    used_weighted_nano bigint NOT NULL,    -- Σ efficiency × (cpu + ram cost), for a true mean
    PRIMARY KEY (date, namespace_id, user_no, account_no, kind)
);
CREATE INDEX cost_daily_cluster ON hopsmeter.cost_daily (cluster_id, date);

-- What cost_daily holds of `day`, computed from its allocations: for closing a day, for days that
-- are still open, and for the proof. The bounds are literal so that the key and partitions serve.
CREATE FUNCTION hopsmeter.cost_of_day(day date, clusters int[])
RETURNS SETOF hopsmeter.cost_daily LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT day, a.cluster_id, a.namespace_id, a.kind,
       coalesce(a.user_no, 0), coalesce(a.account_no, 0),
       count(*)::int,
       sum(a.cpu_nano)::bigint, sum(a.gpu_nano)::bigint, sum(a.ram_nano)::bigint,
       sum(a.pv_nano)::bigint, sum(a.network_nano)::bigint,
       sum(a.load_balancer_nano + a.shared_nano + a.external_nano + a.adjustment_nano
           + a.rounding_nano)::bigint,
       sum(a.total_nano)::bigint,
       coalesce(sum(hopsmeter.charge_nano(a.total_nano, v.factor)), 0)::bigint,
       min(a.hour), max(a.hour),
       sum(a.cpu_core_hours_micro)::bigint, sum(a.gpu_hours_micro)::bigint,
       sum(a.ram_byte_hours)::bigint, sum(a.pv_byte_hours)::bigint,
       -- A mean for people, and no money: beyond all sense it is cut off, and never in the way.
       least(greatest(
           sum(greatest(a.efficiency_ppm, 0)::numeric * (a.cpu_nano + a.ram_nano) / 1000000),
           -9e18), 9e18)::bigint
FROM hopsmeter.allocations a
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
WHERE a.hour >= day::timestamp AT TIME ZONE 'UTC'
  AND a.hour < (day + 1)::timestamp AT TIME ZONE 'UTC'
  AND a.cluster_id = ANY (clusters)
GROUP BY a.cluster_id, a.namespace_id, a.kind, coalesce(a.user_no, 0), coalesce(a.account_no, 0);
END;

-- Closed days from cost_daily, open ones computed: what every screen and report reads.
CREATE VIEW hopsmeter.cost_by_day AS
SELECT c.* FROM hopsmeter.cost_daily c
JOIN hopsmeter.cluster_days d ON d.cluster_id = c.cluster_id AND d.day = c.date
WHERE d.closed_at IS NOT NULL
UNION ALL
SELECT c.* FROM (SELECT day, array_agg(cluster_id) AS clusters FROM hopsmeter.cluster_days
               WHERE closed_at IS NULL GROUP BY day) d   -- each open day is read once
CROSS JOIN LATERAL hopsmeter.cost_of_day(d.day, d.clusters) c;
