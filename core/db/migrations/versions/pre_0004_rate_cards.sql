-- Part 2: a factor for each kind of cost, and plans that price quantities instead of cost. The code of
-- before may go on while this runs, and after it: it knows versions of one factor only, and nobody can
-- make another one before the new code is there.

ALTER TABLE hopsmeter.rate_plans
    DROP CONSTRAINT rate_plans_kind_check,
    ADD CONSTRAINT rate_plans_kind_check CHECK (kind IN ('cost_plus', 'rate_card')),
    -- Null: that of whatever cluster the cost is of. A price has no meaning without one.
    ADD COLUMN currency text CHECK (currency ~ '^[A-Z]{3}$'),
    ADD CONSTRAINT rate_plans_card_currency CHECK (kind <> 'rate_card' OR currency IS NOT NULL);

-- A version of a cost-plus plan has a factor, and maybe others for single kinds of cost; one of a rate
-- card has no factor, but prices: for a CPU-core-hour, a GPU-hour, a GiB-hour of memory and of volumes,
-- a GiB sent. What is included is free, in the same units, for each account and calendar month (UTC).
ALTER TABLE hopsmeter.rate_plan_versions
    ALTER COLUMN factor DROP NOT NULL,
    ADD COLUMN cpu_factor numeric(12, 6) CHECK (cpu_factor >= 0),
    ADD COLUMN gpu_factor numeric(12, 6) CHECK (gpu_factor >= 0),
    ADD COLUMN ram_factor numeric(12, 6) CHECK (ram_factor >= 0),
    ADD COLUMN pv_factor numeric(12, 6) CHECK (pv_factor >= 0),
    ADD COLUMN network_factor numeric(12, 6) CHECK (network_factor >= 0),
    ADD COLUMN load_balancer_factor numeric(12, 6) CHECK (load_balancer_factor >= 0),
    ADD COLUMN shared_factor numeric(12, 6) CHECK (shared_factor >= 0),
    ADD COLUMN external_factor numeric(12, 6) CHECK (external_factor >= 0),
    ADD COLUMN cpu_price numeric(15, 9) CHECK (cpu_price BETWEEN 0 AND 10000),
    ADD COLUMN gpu_price numeric(15, 9) CHECK (gpu_price BETWEEN 0 AND 100000),
    ADD COLUMN ram_price numeric(15, 9) CHECK (ram_price BETWEEN 0 AND 1000),
    ADD COLUMN pv_price numeric(15, 9) CHECK (pv_price BETWEEN 0 AND 1000),
    ADD COLUMN network_price numeric(15, 9) CHECK (network_price BETWEEN 0 AND 1000),
    ADD COLUMN cpu_included numeric(16, 6) CHECK (cpu_included BETWEEN 0 AND 1000000000),
    ADD COLUMN gpu_included numeric(16, 6) CHECK (gpu_included BETWEEN 0 AND 1000000000),
    ADD COLUMN ram_included numeric(16, 6) CHECK (ram_included BETWEEN 0 AND 1000000000),
    ADD COLUMN pv_included numeric(16, 6) CHECK (pv_included BETWEEN 0 AND 1000000000),
    ADD COLUMN network_included numeric(16, 6) CHECK (network_included BETWEEN 0 AND 1000000000),
    ADD CONSTRAINT rate_plan_versions_one_kind CHECK (
        (factor IS NULL) = (num_nonnulls(cpu_price, gpu_price, ram_price, pv_price,
                                         network_price) > 0)),
    ADD CONSTRAINT rate_plan_versions_kinds_have_a_base CHECK (
        factor IS NOT NULL OR num_nonnulls(
            cpu_factor, gpu_factor, ram_factor, pv_factor, network_factor, load_balancer_factor,
            shared_factor, external_factor) = 0),
    ADD CONSTRAINT rate_plan_versions_included_has_a_price CHECK (
        (cpu_included IS NULL OR cpu_price IS NOT NULL)
        AND (gpu_included IS NULL OR gpu_price IS NOT NULL)
        AND (ram_included IS NULL OR ram_price IS NOT NULL)
        AND (pv_included IS NULL OR pv_price IS NOT NULL)
        AND (network_included IS NULL OR network_price IS NOT NULL)),
    -- What is free is free in a whole month: a version that begins within one would halve, or double, it.
    ADD CONSTRAINT rate_plan_versions_included_by_month CHECK (
        num_nonnulls(cpu_included, gpu_included, ram_included, pv_included, network_included) = 0
        OR date_trunc('month', valid_from, 'UTC') = valid_from);

-- Each version with the hours that it holds for, and everything it says.
CREATE OR REPLACE VIEW hopsmeter.rate_plan_periods AS
SELECT v.id, v.plan_id, p.name AS plan, p.is_default, v.factor,
       tstzrange(v.valid_from, lead(v.valid_from) OVER (PARTITION BY v.plan_id
                                                        ORDER BY v.valid_from)) AS valid,
       p.kind, p.currency,
       v.cpu_factor, v.gpu_factor, v.ram_factor, v.pv_factor, v.network_factor,
       v.load_balancer_factor, v.shared_factor, v.external_factor,
       v.cpu_price, v.gpu_price, v.ram_price, v.pv_price, v.network_price,
       v.cpu_included, v.gpu_included, v.ram_included, v.pv_included, v.network_included
FROM hopsmeter.rate_plan_versions v JOIN hopsmeter.rate_plans p ON p.id = v.plan_id;

-- ── the one function that makes a charge ────────────────────────────────────────────────────

-- How much of an allocation's quantities is free, in the units of the allocation.
CREATE TYPE hopsmeter.free_part AS (
    hour timestamptz,
    namespace_id int,
    cpu_core_hours_micro bigint,
    gpu_hours_micro bigint,
    ram_byte_hours bigint,
    pv_byte_hours bigint,
    network_transfer_bytes bigint
);

-- Half-even to a whole number; PostgreSQL's round() goes away from zero. In plpgsql: in SQL it would be
-- inlined, and its long argument computed four times.
CREATE FUNCTION hopsmeter.half_even(exact numeric) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN abs(exact - trunc(exact)) = 0.5 THEN 2 * round(exact / 2)
                ELSE round(exact) END;
END $$;

-- What one allocation is charged as by a version, of which a part may be free; null without a version.
-- Exact until its one rounding, half-even to the nano:
--   cost-plus: total × factor; a kind that has a factor of its own at that one, all else (adjustments and
--     OpenCost's rounding too) at `factor`;
--   rate card: (quantity − free) × price. A price is for 10⁶ micro-hours, or for 2³⁰ bytes, and
--     10⁹ nano / 2³⁰ is 0.931322574615478515625, exactly.
-- Not STRICT, and no subselect: else it is not inlined, and costs 6 µs a row. Inlined, its composite
-- arguments are the columns themselves; whoever passes one that must be computed pays for it.
CREATE FUNCTION hopsmeter.charge_nano(
    a hopsmeter.allocations, v hopsmeter.rate_plan_versions, f hopsmeter.free_part)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN v.factor IS NULL THEN CASE WHEN v.id IS NOT NULL THEN hopsmeter.half_even(
        1000 * ((a.cpu_core_hours_micro - coalesce(f.cpu_core_hours_micro, 0))
                    * coalesce(v.cpu_price, 0)
                + (a.gpu_hours_micro - coalesce(f.gpu_hours_micro, 0)) * coalesce(v.gpu_price, 0))
        + 0.931322574615478515625
            * ((a.ram_byte_hours - coalesce(f.ram_byte_hours, 0)) * coalesce(v.ram_price, 0)
               + (a.pv_byte_hours - coalesce(f.pv_byte_hours, 0)) * coalesce(v.pv_price, 0)
               + (a.network_transfer_bytes - coalesce(f.network_transfer_bytes, 0))
                   * coalesce(v.network_price, 0))) END
    WHEN v.cpu_factor IS NOT NULL OR v.gpu_factor IS NOT NULL OR v.ram_factor IS NOT NULL
        OR v.pv_factor IS NOT NULL OR v.network_factor IS NOT NULL
        OR v.load_balancer_factor IS NOT NULL OR v.shared_factor IS NOT NULL
        OR v.external_factor IS NOT NULL THEN hopsmeter.half_even(
        a.total_nano * v.factor
        + a.cpu_nano * (coalesce(v.cpu_factor, v.factor) - v.factor)
        + a.gpu_nano * (coalesce(v.gpu_factor, v.factor) - v.factor)
        + a.ram_nano * (coalesce(v.ram_factor, v.factor) - v.factor)
        + a.pv_nano * (coalesce(v.pv_factor, v.factor) - v.factor)
        + a.network_nano * (coalesce(v.network_factor, v.factor) - v.factor)
        + a.load_balancer_nano * (coalesce(v.load_balancer_factor, v.factor) - v.factor)
        + a.shared_nano * (coalesce(v.shared_factor, v.factor) - v.factor)
        + a.external_nano * (coalesce(v.external_factor, v.factor) - v.factor))
    WHEN v.factor = 1 THEN a.total_nano
    WHEN abs(a.total_nano * v.factor - trunc(a.total_nano * v.factor)) = 0.5
        THEN (2 * round(a.total_nano * v.factor / 2))::bigint
    ELSE round(a.total_nano * v.factor)::bigint
END;
COMMENT ON FUNCTION hopsmeter.charge_nano(bigint, numeric) IS
    'of the release before, whose daemon may still run; goes with the next';

-- ── what is free in a month ─────────────────────────────────────────────────────────────────

-- Of `own`, which brought the running sum to `total`, the part within the first `included`. Exact below
-- zero too: what a restated hour takes back gives its free part back.
CREATE FUNCTION hopsmeter.free_of(total bigint, own bigint, included bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(0, least(total, included)) - greatest(0, least(total - own, included));

-- Who has something included, and when.
CREATE VIEW hopsmeter.accounts_with_included AS
SELECT s.account_no, s.valid * v.valid AS valid
FROM hopsmeter.plan_assignments s
JOIN hopsmeter.rate_plan_periods v ON v.plan_id = s.plan_id AND v.valid && s.valid
WHERE num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                   v.network_included) > 0;

-- What an account used on a day under a version with something included, of the hours that are posted:
-- so that the free part of an hour is known without reading its month again. Derived, like usage_daily.
CREATE TABLE hopsmeter.included_used_daily (
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    date date NOT NULL,
    plan_version_id int NOT NULL REFERENCES hopsmeter.rate_plan_versions (id),
    cpu_core_hours_micro bigint NOT NULL,
    gpu_hours_micro bigint NOT NULL,
    ram_byte_hours bigint NOT NULL,
    pv_byte_hours bigint NOT NULL,
    network_transfer_bytes bigint NOT NULL,
    PRIMARY KEY (date, account_no, plan_version_id)
);

-- Which parts of the allocations in [since, until) are free, for the accounts named, or all (null):
-- what a version includes is handed out per account and UTC month in the order (hour, cluster,
-- namespace), by name. By the versions that the allocations were stored under; or, with `instead`, as
-- if everybody paid by that plan. The one hand-out: posting, proof, explanations and previews use it.
-- No row, or zeros: nothing is free. What was used earlier in the month comes from included_used_daily
-- (`instead` reads it from the facts, as whoever begins with the month's first hour does); those of the
-- day of `since` on are read, and only where somebody has something included.
CREATE FUNCTION hopsmeter.free_parts(
    since timestamptz, until timestamptz, accounts int[], instead int)
RETURNS SETOF hopsmeter.free_part LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100000
-- With a setting of its own it is not inlined, which would let the planner think of one row, and loop.
SET enable_nestloop = off
BEGIN ATOMIC
WITH given AS MATERIALIZED (
    SELECT g.account_no, g.valid, g.id,
           coalesce(g.cpu_included * 1000000, 0)::bigint AS cpu,
           coalesce(g.gpu_included * 1000000, 0)::bigint AS gpu,
           -- To whole bytes.
           coalesce(trunc(g.ram_included * 1073741824), 0)::bigint AS ram,
           coalesce(trunc(g.pv_included * 1073741824), 0)::bigint AS pv,
           coalesce(trunc(g.network_included * 1073741824), 0)::bigint AS network
    FROM (SELECT s.account_no, s.valid * v.valid AS valid, v.id, v.cpu_included, v.gpu_included,
                 v.ram_included, v.pv_included, v.network_included
          FROM hopsmeter.plan_assignments s
          JOIN hopsmeter.rate_plan_periods v ON v.plan_id = s.plan_id AND v.valid && s.valid
          WHERE instead IS NULL
          UNION ALL
          SELECT u.no, v.valid, v.id, v.cpu_included, v.gpu_included,
                 v.ram_included, v.pv_included, v.network_included
          FROM hopsmeter.rate_plan_periods v CROSS JOIN hopsmeter.users u
          WHERE v.plan_id = instead) g
    WHERE (accounts IS NULL OR g.account_no = ANY (accounts))
      AND g.valid && tstzrange(date_trunc('month', since, 'UTC'), until)
      AND num_nonnulls(g.cpu_included, g.gpu_included, g.ram_included, g.pv_included,
                       g.network_included) > 0),
carried AS (
    SELECT account_no, plan_version_id,
           hopsmeter.sum_nano(cpu_core_hours_micro) AS cpu,
           hopsmeter.sum_nano(gpu_hours_micro) AS gpu,
           hopsmeter.sum_nano(ram_byte_hours) AS ram, hopsmeter.sum_nano(pv_byte_hours) AS pv,
           hopsmeter.sum_nano(network_transfer_bytes) AS network
    FROM hopsmeter.included_used_daily
    WHERE instead IS NULL AND date >= (date_trunc('month', since, 'UTC') AT TIME ZONE 'UTC')::date
      AND date < (since AT TIME ZONE 'UTC')::date
      AND (accounts IS NULL OR account_no = ANY (accounts))
    GROUP BY account_no, plan_version_id),
used AS (
    SELECT k.cpu AS cpu_carried, k.gpu AS gpu_carried, k.ram AS ram_carried, k.pv AS pv_carried,
           k.network AS network_carried,
           a.hour, a.namespace_id, a.cpu_core_hours_micro, a.gpu_hours_micro, a.ram_byte_hours,
           a.pv_byte_hours, a.network_transfer_bytes, g.cpu, g.gpu, g.ram, g.pv, g.network,
           hopsmeter.sum_nano(a.cpu_core_hours_micro) OVER month AS cpu_total,
           hopsmeter.sum_nano(a.gpu_hours_micro) OVER month AS gpu_total,
           hopsmeter.sum_nano(a.ram_byte_hours) OVER month AS ram_total,
           hopsmeter.sum_nano(a.pv_byte_hours) OVER month AS pv_total,
           hopsmeter.sum_nano(a.network_transfer_bytes) OVER month AS network_total
    FROM hopsmeter.allocations a
    JOIN given g ON g.account_no = a.account_no AND g.valid @> a.hour
        AND (instead IS NOT NULL OR g.id = a.plan_version_id)
    JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
    JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
    LEFT JOIN carried k ON k.account_no = g.account_no AND k.plan_version_id = g.id
        AND date_trunc('month', a.hour, 'UTC') = date_trunc('month', since, 'UTC')
    WHERE EXISTS (SELECT FROM given)   -- else nothing is read
      AND a.kind = 1 AND a.hour < until
      AND a.hour >= CASE WHEN instead IS NULL THEN date_trunc('day', since, 'UTC')
                         ELSE date_trunc('month', since, 'UTC') END
    WINDOW month AS (
        PARTITION BY g.account_no, g.id, date_trunc('month', a.hour, 'UTC')
        ORDER BY a.hour, c.name COLLATE "C", n.name COLLATE "C" ROWS UNBOUNDED PRECEDING))
SELECT hour, namespace_id,
       hopsmeter.free_of(cpu_total + coalesce(cpu_carried, 0), cpu_core_hours_micro, cpu),
       hopsmeter.free_of(gpu_total + coalesce(gpu_carried, 0), gpu_hours_micro, gpu),
       hopsmeter.free_of(ram_total + coalesce(ram_carried, 0), ram_byte_hours, ram),
       hopsmeter.free_of(pv_total + coalesce(pv_carried, 0), pv_byte_hours, pv),
       hopsmeter.free_of(network_total + coalesce(network_carried, 0), network_transfer_bytes, network)
FROM used WHERE hour >= since;
END;

-- The days by the new functions; else as it was.
CREATE OR REPLACE FUNCTION hopsmeter.cost_of_day(day date, clusters int[])
RETURNS SETOF hopsmeter.cost_daily LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
SELECT day, a.cluster_id, a.namespace_id, a.kind,
       coalesce(a.user_no, 0), coalesce(a.account_no, 0),
       count(*)::int,
       sum(a.cpu_nano)::bigint, sum(a.gpu_nano)::bigint, sum(a.ram_nano)::bigint,
       sum(a.pv_nano)::bigint, sum(a.network_nano)::bigint,
       sum(a.load_balancer_nano + a.shared_nano + a.external_nano + a.adjustment_nano
           + a.rounding_nano)::bigint,
       sum(a.total_nano)::bigint,
       coalesce(sum(hopsmeter.charge_nano(a, v, f)), 0)::bigint,
       min(a.hour), max(a.hour),
       sum(a.cpu_core_hours_micro)::bigint, sum(a.gpu_hours_micro)::bigint,
       sum(a.ram_byte_hours)::bigint, sum(a.pv_byte_hours)::bigint,
       -- A mean for people, and no money: beyond all sense it is cut off, and never in the way.
       least(greatest(
           sum(greatest(a.efficiency_ppm, 0)::numeric * (a.cpu_nano + a.ram_nano) / 1000000),
           -9e18), 9e18)::bigint
FROM hopsmeter.allocations a
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.free_parts(day::timestamp AT TIME ZONE 'UTC',
                               (day + 1)::timestamp AT TIME ZONE 'UTC', NULL, NULL) f
    ON f.hour = a.hour AND f.namespace_id = a.namespace_id
WHERE a.hour >= day::timestamp AT TIME ZONE 'UTC'
  AND a.hour < (day + 1)::timestamp AT TIME ZONE 'UTC'
  AND a.cluster_id = ANY (clusters)
GROUP BY a.cluster_id, a.namespace_id, a.kind, coalesce(a.user_no, 0), coalesce(a.account_no, 0);
END;
