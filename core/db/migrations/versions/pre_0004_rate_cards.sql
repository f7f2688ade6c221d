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

-- Which parts of the allocations in [since, until) are free, for the accounts named, or all (null):
-- what a version includes is handed out per account and UTC month in the order (hour, cluster,
-- namespace), by name. By the versions that the allocations were stored under; or, with `instead`, as
-- if everybody paid by that plan. The one hand-out: posting, proof, explanations and previews use it.
-- No row, or zeros: nothing is free. Read by the key of allocations, hour by hour (OFFSET 0), from the
-- month's first hour on, and only where somebody has something included.
CREATE FUNCTION hopsmeter.free_parts(
    since timestamptz, until timestamptz, accounts int[], instead int)
RETURNS SETOF hopsmeter.free_part LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
WITH given AS (
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
used AS (
    SELECT a.hour, a.namespace_id, a.cpu_core_hours_micro, a.gpu_hours_micro, a.ram_byte_hours,
           a.pv_byte_hours, a.network_transfer_bytes, g.cpu, g.gpu, g.ram, g.pv, g.network,
           hopsmeter.sum_nano(a.cpu_core_hours_micro) OVER month AS cpu_total,
           hopsmeter.sum_nano(a.gpu_hours_micro) OVER month AS gpu_total,
           hopsmeter.sum_nano(a.ram_byte_hours) OVER month AS ram_total,
           hopsmeter.sum_nano(a.pv_byte_hours) OVER month AS pv_total,
           hopsmeter.sum_nano(a.network_transfer_bytes) OVER month AS network_total
    FROM given g
    JOIN hopsmeter.user_projects p ON p.user_no = g.account_no AND p.valid && g.valid
    JOIN hopsmeter.namespaces n ON n.cluster_id = p.cluster_id AND n.name = p.namespace
    JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id
    JOIN hopsmeter.collection_windows w
        ON w.cluster_id = p.cluster_id AND w.revision > 0 AND g.valid * p.valid @> w.hour
        AND w.hour >= date_trunc('month', since, 'UTC') AND w.hour < until
    CROSS JOIN LATERAL (
        SELECT * FROM hopsmeter.allocations
        WHERE hour = w.hour AND namespace_id = n.id AND kind = 1 AND account_no = g.account_no
          AND (instead IS NOT NULL OR plan_version_id = g.id)
        OFFSET 0) a
    WINDOW month AS (
        PARTITION BY g.account_no, g.id, date_trunc('month', a.hour, 'UTC')
        ORDER BY a.hour, c.name COLLATE "C", n.name COLLATE "C" ROWS UNBOUNDED PRECEDING))
SELECT hour, namespace_id,
       hopsmeter.free_of(cpu_total, cpu_core_hours_micro, cpu),
       hopsmeter.free_of(gpu_total, gpu_hours_micro, gpu),
       hopsmeter.free_of(ram_total, ram_byte_hours, ram),
       hopsmeter.free_of(pv_total, pv_byte_hours, pv),
       hopsmeter.free_of(network_total, network_transfer_bytes, network)
FROM used WHERE hour >= since;
END;

-- The days by the new function; else as it was.
CREATE OR REPLACE FUNCTION hopsmeter.cost_of_day(day date, clusters int[])
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
       coalesce(sum(hopsmeter.charge_nano(a, v, NULL)), 0)::bigint,
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
