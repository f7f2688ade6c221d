-- The proof of the books: each statement returns the rows that are wrong, none where all is well. Where
-- a year of rows is looked at, all that is wrong is found (MATERIALIZED) before a few are named: a planner
-- that sees the limit counts on finding those soon, and is wrong where all is well. It then looks up
-- millions of rows one by one.

-- name: plan_for_proof
-- What is summed is summed in memory, not sorted on disk first.
SELECT set_config('work_mem', '64MB', true);

-- name: plan_to_hash
-- Of a parent of partitions nobody takes statistics: the planner thinks of a few rows of each plan, and
-- would sort a million.
SELECT set_config('enable_sort', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: plan_as_usual
-- What else is asked is planned as always.
SELECT set_config('enable_sort', 'on', true), set_config('enable_mergejoin', 'on', true);

-- name: windows_to_prove
-- Collected hours in the span, with what the books say of them. An answer that is missing among
-- others that are older was not dropped by age: retention drops whole months.
WITH months AS (
    SELECT date_trunc('month', hour, 'UTC') AS month, min(asked_at) AS since
    FROM hopsmeter.raw_answers WHERE hour >= date_trunc('month', %(since)s::timestamptz, 'UTC')
      AND hour < %(until)s::timestamptz + interval '1 month' GROUP BY 1)
SELECT w.cluster_id, c.name, w.hour, w.raw_sha256, w.row_count, w.total_nano,
       coalesce(a.rows, 0), coalesce(a.total_nano, 0)::bigint,
       octet_length(r.body), r.hour IS NULL AND w.collected_at >= m.since AS is_lost
FROM hopsmeter.collection_windows w
LEFT JOIN months m ON m.month = date_trunc('month', w.hour, 'UTC')
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
LEFT JOIN (
    SELECT cluster_id, hour, count(*) FILTER (WHERE flags & 4 = 0) AS rows,
           sum(total_nano) AS total_nano
    FROM hopsmeter.allocations WHERE hour >= %(since)s AND hour < %(until)s
    GROUP BY cluster_id, hour) a ON a.cluster_id = w.cluster_id AND a.hour = w.hour
LEFT JOIN hopsmeter.raw_answers r
    ON r.hour = w.hour AND r.cluster_id = w.cluster_id AND r.sha256 = w.raw_sha256
    AND r.hour >= %(since)s AND r.hour < %(until)s
WHERE w.hour >= %(since)s AND w.hour < %(until)s AND w.revision > 0
ORDER BY w.hour, w.cluster_id;

-- name: namespaces
-- The ids of all namespaces.
SELECT cluster_id, name, id FROM hopsmeter.namespaces;

-- name: raw_bodies
-- Kept answers of some clusters in one hour, each the one that its window names.
SELECT cluster_id, body FROM hopsmeter.raw_answers
WHERE hour = %(hour)s AND (cluster_id, sha256) IN (
    SELECT * FROM unnest(%(clusters)s::int[], %(hashes)s::bytea[]));

-- name: stored_figures
-- Every figure that is stored of some clusters in one hour, for whole columns of them to be compared.
COPY (SELECT cluster_id, namespace_id, cpu_nano, gpu_nano, ram_nano, pv_nano, network_nano,
             load_balancer_nano, shared_nano, external_nano, adjustment_nano, rounding_nano,
             total_nano, cpu_core_hours_micro, gpu_hours_micro, ram_byte_hours, pv_byte_hours,
             network_transfer_bytes, network_receive_bytes, minutes_micro
      FROM hopsmeter.allocations
      WHERE hour = %(hour)s AND cluster_id = ANY (%(clusters)s::int[]) AND flags & 4 = 0
      ORDER BY cluster_id, namespace_id) TO STDOUT (FORMAT BINARY);

-- name: stored_rows
-- What is stored of one cluster-hour, by namespace: every figure that OpenCost gave.
SELECT n.name, a.total_nano, a.cpu_nano, a.gpu_nano, a.ram_nano, a.pv_nano, a.network_nano,
       a.load_balancer_nano, a.shared_nano, a.external_nano, a.adjustment_nano, a.rounding_nano,
       a.cpu_core_hours_micro, a.gpu_hours_micro, a.ram_byte_hours, a.pv_byte_hours,
       a.network_transfer_bytes, a.network_receive_bytes, a.minutes_micro
FROM hopsmeter.allocations a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
WHERE a.hour = %(hour)s AND a.cluster_id = %(cluster_id)s AND a.flags & 4 = 0;

-- name: kinds_do_not_add_up
-- Allocations whose kinds and rounding are not their total.
SELECT c.name, n.name, a.hour FROM hopsmeter.allocations a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
WHERE a.hour >= %(since)s AND a.hour < %(until)s
  AND a.total_nano <> a.cpu_nano + a.gpu_nano + a.ram_nano + a.pv_nano + a.network_nano
      + a.load_balancer_nano + a.shared_nano + a.external_nano + a.adjustment_nano
      + a.rounding_nano
LIMIT %(limit)s;

-- name: orphans
-- Allocations of hours that no window says are stored.
WITH stored AS MATERIALIZED (
    SELECT cluster_id, hour, count(*) AS rows FROM hopsmeter.allocations
    WHERE hour >= %(since)s AND hour < %(until)s GROUP BY cluster_id, hour)
SELECT a.cluster_id::text, a.rows::text, a.hour FROM stored a
LEFT JOIN hopsmeter.collection_windows w
    ON w.cluster_id = a.cluster_id AND w.hour = a.hour AND w.revision > 0
WHERE w.hour IS NULL LIMIT %(limit)s;

-- name: wrong_attribution
-- Allocations whose owner, kind or plan is not what the periods give for their hour.
WITH versions AS MATERIALIZED (
    SELECT id, plan_id, valid_from,
           lead(valid_from, 1, 'infinity') OVER (PARTITION BY plan_id ORDER BY valid_from) AS valid_to
    FROM hopsmeter.rate_plan_versions),
wrong AS MATERIALIZED (
SELECT c.name AS cluster, n.name AS namespace, a.hour FROM hopsmeter.allocations a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = a.cluster_id AND p.namespace = n.name AND p.valid @> a.hour
LEFT JOIN hopsmeter.plan_assignments s ON s.account_no = p.user_no AND s.valid @> a.hour
LEFT JOIN versions v
    ON v.plan_id = coalesce(s.plan_id, (SELECT id FROM hopsmeter.rate_plans WHERE is_default))
    AND v.valid_from <= a.hour AND a.hour < v.valid_to
WHERE a.hour >= %(since)s AND a.hour < %(until)s
  AND (a.kind, a.user_no, a.account_no, a.plan_version_id) IS DISTINCT FROM
      (CASE WHEN n.name = '__idle__' THEN 3 WHEN n.name = '__unmounted__' THEN 4
            WHEN n.name = ANY (c.system_namespaces) THEN 2
            WHEN p.user_no IS NOT NULL THEN 1 ELSE 0 END::smallint,
       CASE WHEN n.name <> ALL (c.system_namespaces) THEN p.user_no END,
       CASE WHEN n.name <> ALL (c.system_namespaces) THEN p.user_no END,
       CASE WHEN n.name <> ALL (c.system_namespaces) AND p.user_no IS NOT NULL THEN v.id END))
SELECT * FROM wrong LIMIT %(limit)s;

-- name: money_by_kind
-- Cost in, and where it went, by currency. Of all times: years in a small currency fit no bigint.
SELECT c.currency, sum(a.total_nano),
       coalesce(sum(a.total_nano) FILTER (WHERE a.kind = 1), 0),
       coalesce(sum(a.total_nano) FILTER (WHERE a.kind IN (2, 3, 4)), 0),
       coalesce(sum(a.total_nano) FILTER (WHERE a.kind = 0), 0)
FROM hopsmeter.allocations a JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
WHERE a.hour >= %(since)s AND a.hour < %(until)s GROUP BY c.currency ORDER BY c.currency;

-- name: usage_differs
-- usage_daily against the sum of its allocations, where nothing waits to be posted.
WITH undiminished AS (
    SELECT (a.hour AT TIME ZONE 'UTC')::date AS date, a.cluster_id, a.user_no, a.account_no,
           sum(a.cpu_nano)::bigint AS cpu, sum(a.gpu_nano)::bigint AS gpu,
           sum(a.ram_nano)::bigint AS ram, sum(a.pv_nano)::bigint AS pv,
           sum(a.network_nano)::bigint AS network,
           sum(a.load_balancer_nano + a.shared_nano + a.external_nano + a.adjustment_nano
               + a.rounding_nano)::bigint AS other,
           sum(a.total_nano)::bigint AS total,
           sum(hopsmeter.charge_nano(a, v, NULL)) AS charge
    FROM hopsmeter.allocations a
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    WHERE a.hour >= %(since)s AND a.hour < %(until)s AND a.kind = 1
    GROUP BY 1, 2, 3, 4),
-- What is free of some accounts' allocations, apart: of most there is nothing to look for.
free AS (
    SELECT (a.hour AT TIME ZONE 'UTC')::date AS date, a.cluster_id, a.user_no, a.account_no,
           sum(hopsmeter.charge_nano(a, v, NULL) - hopsmeter.charge_nano(a, v, f)) AS charge
    FROM hopsmeter.free_parts(%(since)s, %(until)s, NULL, NULL) f
    JOIN hopsmeter.allocations a ON a.hour = f.hour AND a.namespace_id = f.namespace_id
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    WHERE a.hour >= %(since)s AND a.hour < %(until)s AND a.kind = 1
    GROUP BY 1, 2, 3, 4),
computed AS (
    SELECT date, cluster_id, user_no, account_no, cpu, gpu, ram, pv, network, other, total,
           (u.charge - coalesce(f.charge, 0))::bigint AS charge
    FROM undiminished u LEFT JOIN free f USING (date, cluster_id, user_no, account_no)),
stored AS (
    SELECT date, cluster_id, user_no, account_no, opencost_cpu_nano AS cpu,
           opencost_gpu_nano AS gpu, opencost_ram_nano AS ram, opencost_pv_nano AS pv,
           opencost_network_nano AS network, opencost_total_nano AS total,
           charge_nano AS charge, opencost_other_nano AS other
    FROM hopsmeter.usage_daily
    WHERE date >= (%(since)s AT TIME ZONE 'UTC')::date
      AND date < (%(until)s AT TIME ZONE 'UTC')::date),
pending AS (
    SELECT DISTINCT cluster_id, (hour AT TIME ZONE 'UTC')::date AS date
    FROM hopsmeter.collection_windows
    WHERE stored_no <> posted_no AND hour >= %(since)s AND hour < %(until)s),
wrong AS MATERIALIZED (
    SELECT date, cluster_id, user_no, account_no FROM computed k
    FULL JOIN stored s USING (date, cluster_id, user_no, account_no)
    WHERE (k.cpu, k.gpu, k.ram, k.pv, k.network, k.other, k.total, k.charge)
        IS DISTINCT FROM (s.cpu, s.gpu, s.ram, s.pv, s.network, s.other, s.total, s.charge))
SELECT c.name, u.id, k.date::timestamp AT TIME ZONE 'UTC'
FROM wrong k
JOIN hopsmeter.hopsworks_clusters c ON c.id = k.cluster_id
JOIN hopsmeter.users u ON u.no = k.user_no
WHERE NOT EXISTS (SELECT FROM pending p WHERE p.cluster_id = k.cluster_id AND p.date = k.date)
  -- What is used, and not posted, moves what is free on the later days of its month.
  AND NOT EXISTS (SELECT FROM pending p JOIN hopsmeter.accounts_with_included i
                      ON i.account_no = k.account_no
                      AND i.valid @> date_trunc('month', p.date::timestamp) AT TIME ZONE 'UTC'
                  WHERE p.date <= k.date
                    AND date_trunc('month', p.date) = date_trunc('month', k.date))
LIMIT %(limit)s;

-- name: cost_daily_differs
-- cost_daily of closed days against their allocations, where nothing waits to be posted.
WITH days AS (
    SELECT d.day, array_agg(d.cluster_id) AS clusters FROM hopsmeter.cluster_days d
    WHERE d.closed_at IS NOT NULL
      AND d.day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND d.day < (%(until)s AT TIME ZONE 'UTC')::date
      AND NOT EXISTS (
          SELECT FROM hopsmeter.collection_windows w
          WHERE w.cluster_id = d.cluster_id AND w.stored_no <> w.posted_no
            AND w.hour >= d.day::timestamp AT TIME ZONE 'UTC'
            AND w.hour < (d.day + 1)::timestamp AT TIME ZONE 'UTC')
    GROUP BY d.day),
computed AS (SELECT k.* FROM days d, LATERAL hopsmeter.cost_of_day(d.day, d.clusters) k),
stored AS (
    SELECT s.* FROM hopsmeter.cost_daily s
    JOIN days d ON d.day = s.date AND s.cluster_id = ANY (d.clusters)),
wrong AS MATERIALIZED (
    (SELECT * FROM computed EXCEPT ALL SELECT * FROM stored)
    UNION ALL (SELECT * FROM stored EXCEPT ALL SELECT * FROM computed))
SELECT c.name, n.name, wrong.date::timestamp AT TIME ZONE 'UTC'
FROM wrong JOIN hopsmeter.hopsworks_clusters c ON c.id = wrong.cluster_id
JOIN hopsmeter.namespaces n ON n.id = wrong.namespace_id
WHERE NOT EXISTS (   -- as in usage_differs
    SELECT FROM hopsmeter.collection_windows w JOIN hopsmeter.accounts_with_included i
        ON i.account_no = wrong.account_no AND i.valid @> date_trunc('month', w.hour, 'UTC')
    WHERE w.stored_no <> w.posted_no AND w.hour < (wrong.date + 1)::timestamp AT TIME ZONE 'UTC'
      AND date_trunc('month', w.hour, 'UTC')
          = date_trunc('month', wrong.date::timestamp) AT TIME ZONE 'UTC')
LIMIT %(limit)s;

-- name: unclosed_rows
-- Rows of cost_daily of a cluster's day that is not closed: nobody reads them, and nobody mends them.
SELECT c.name, n.name, s.date::timestamp AT TIME ZONE 'UTC'
FROM hopsmeter.cost_daily s
JOIN hopsmeter.hopsworks_clusters c ON c.id = s.cluster_id
JOIN hopsmeter.namespaces n ON n.id = s.namespace_id
LEFT JOIN hopsmeter.cluster_days d ON d.cluster_id = s.cluster_id AND d.day = s.date
WHERE d.closed_at IS NULL
  AND s.date >= (%(since)s AT TIME ZONE 'UTC')::date
  AND s.date < (%(until)s AT TIME ZONE 'UTC')::date
ORDER BY s.date, c.name, n.name LIMIT %(limit)s;

-- name: breakdown_differs
-- project_breakdown of closed days against their rows per namespace, where nothing waits.
SELECT c.name, u.id, d.date::timestamp AT TIME ZONE 'UTC'
FROM hopsmeter.usage_daily d
JOIN hopsmeter.cluster_days k ON k.cluster_id = d.cluster_id AND k.day = d.date
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
JOIN hopsmeter.users u ON u.no = d.user_no
WHERE k.closed_at IS NOT NULL
  AND d.date >= (%(since)s AT TIME ZONE 'UTC')::date
  AND d.date < (%(until)s AT TIME ZONE 'UTC')::date
  AND NOT EXISTS (
      SELECT FROM hopsmeter.collection_windows w
      WHERE w.cluster_id = d.cluster_id AND w.stored_no <> w.posted_no
        AND w.hour >= d.date::timestamp AT TIME ZONE 'UTC'
        AND w.hour < (d.date + 1)::timestamp AT TIME ZONE 'UTC')
  AND (SELECT jsonb_object_agg(b.key, b.value - 'efficiency_ppm')
       FROM jsonb_each(d.project_breakdown) b)
      IS DISTINCT FROM
      (SELECT jsonb_object_agg(n.name, to_jsonb(r) - ARRAY[
           'date', 'cluster_id', 'namespace_id', 'kind', 'user_no', 'account_no', 'first_hour',
           'last_hour', 'used_weighted_nano'])
       FROM hopsmeter.cost_daily r JOIN hopsmeter.namespaces n ON n.id = r.namespace_id
       WHERE r.date = d.date AND r.cluster_id = d.cluster_id AND r.user_no = d.user_no
         AND r.account_no = d.account_no AND r.kind = 1)
LIMIT %(limit)s;

-- name: included_differs
-- What is kept of an account's use of what is included, against its allocations, on days of which nothing
-- waits to be posted: what is free on the later days of the month begins with it.
WITH card AS MATERIALIZED (
    SELECT id FROM hopsmeter.rate_plan_versions
    WHERE num_nonnulls(cpu_included, gpu_included, ram_included, pv_included, network_included) > 0),
computed AS (
    SELECT (a.hour AT TIME ZONE 'UTC')::date AS date, a.account_no, a.plan_version_id,
           sum(a.cpu_core_hours_micro) AS cpu, sum(a.gpu_hours_micro) AS gpu,
           sum(a.ram_byte_hours) AS ram, sum(a.pv_byte_hours) AS pv,
           sum(a.network_transfer_bytes) AS network
    FROM hopsmeter.allocations a
    WHERE EXISTS (SELECT FROM card)   -- else nothing is read
      AND a.hour >= %(since)s AND a.hour < %(until)s AND a.kind = 1
      AND a.plan_version_id IN (SELECT id FROM card)
    GROUP BY 1, 2, 3),
stored AS (
    SELECT date, account_no, plan_version_id, cpu_core_hours_micro AS cpu, gpu_hours_micro AS gpu,
           ram_byte_hours AS ram, pv_byte_hours AS pv, network_transfer_bytes AS network
    FROM hopsmeter.included_used_daily
    WHERE date >= (%(since)s AT TIME ZONE 'UTC')::date
      AND date < (%(until)s AT TIME ZONE 'UTC')::date)
SELECT coalesce(u.id, 'account ' || account_no), '', date::timestamp AT TIME ZONE 'UTC'
FROM computed k FULL JOIN stored s USING (date, account_no, plan_version_id)
LEFT JOIN hopsmeter.users u ON u.no = account_no
WHERE (k.cpu, k.gpu, k.ram, k.pv, k.network) IS DISTINCT FROM (s.cpu, s.gpu, s.ram, s.pv, s.network)
  AND NOT EXISTS (SELECT FROM hopsmeter.collection_windows w
                  WHERE w.stored_no <> w.posted_no AND w.hour >= date::timestamp AT TIME ZONE 'UTC'
                    AND w.hour < (date + 1)::timestamp AT TIME ZONE 'UTC')
ORDER BY date, account_no LIMIT %(limit)s;

-- name: posting_pending
-- Hours that are stored and not yet posted, and the time of the oldest store among them.
SELECT count(*), min(collected_at) FROM hopsmeter.collection_windows
WHERE stored_no <> posted_no AND hour >= %(since)s AND hour < %(until)s;

-- name: entries_differ
-- What was entered against revenue for an account's day, and what its daily rows say is charged. They
-- are written together, so nothing that waits to be posted is an excuse.
WITH charged AS (
    SELECT account_no, date AS day, sum(charge_nano) AS nano FROM hopsmeter.usage_daily
    WHERE date >= (%(since)s AT TIME ZONE 'UTC')::date
      AND date < (%(until)s AT TIME ZONE 'UTC')::date
    GROUP BY 1, 2),
entered AS (
    SELECT account_no, usage_day AS day, -sum(amount_nano) AS nano FROM hopsmeter.ledger_entries
    WHERE usage_day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND usage_day < (%(until)s AT TIME ZONE 'UTC')::date AND contra = 11
    GROUP BY 1, 2)
SELECT coalesce(u.id, 'account ' || account_no), day, coalesce(c.nano, 0), coalesce(e.nano, 0)
FROM charged c FULL JOIN entered e USING (account_no, day)
LEFT JOIN hopsmeter.users u ON u.no = account_no
WHERE coalesce(c.nano, 0) <> coalesce(e.nano, 0)
ORDER BY day, account_no LIMIT %(limit)s;

-- name: postings_differ
-- Postings that say another number of entries than there are under their day and number.
WITH entered AS (
    SELECT usage_day AS day, posting_no AS no, count(*) AS entries FROM hopsmeter.ledger_entries
    WHERE usage_day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND usage_day < (%(until)s AT TIME ZONE 'UTC')::date GROUP BY 1, 2),
said AS (
    SELECT day, no, entries FROM hopsmeter.postings
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND day < (%(until)s AT TIME ZONE 'UTC')::date AND entries > 0)
SELECT day, no, coalesce(s.entries, 0), coalesce(e.entries, 0)
FROM said s FULL JOIN entered e USING (day, no)
WHERE coalesce(s.entries, 0) <> coalesce(e.entries, 0)
ORDER BY day, no LIMIT %(limit)s;

-- name: posted_elsewhere
-- Charges that stand on another date than their day's while its month was open, and entries of any
-- kind that stand in a month that was closed already when they were written.
WITH placed AS (
    SELECT e.id, e.account_no, e.usage_day, e.posted_on,
           (SELECT max(month) + interval '1 month' FROM hopsmeter.closed_months
            WHERE closed_at <= e.at)::date AS open_from
    FROM hopsmeter.ledger_entries e
    WHERE e.usage_day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND e.usage_day < (%(until)s AT TIME ZONE 'UTC')::date
       OR e.usage_day IS NULL
      AND e.posted_on >= (%(since)s AT TIME ZONE 'UTC')::date
      AND e.posted_on < (%(until)s AT TIME ZONE 'UTC')::date),
wrong AS MATERIALIZED (
    SELECT * FROM placed
    WHERE posted_on < open_from
       OR usage_day >= coalesce(open_from, '-infinity') AND posted_on <> usage_day)
SELECT coalesce(u.id, 'account ' || account_no), w.id, coalesce(usage_day::text, 'no day'), posted_on
FROM wrong w LEFT JOIN hopsmeter.users u ON u.no = account_no
ORDER BY w.id LIMIT %(limit)s;

-- name: currencies_mixed
-- Accounts that are charged for a cluster of another currency than their own.
SELECT DISTINCT u.id, coalesce(u.currency, 'no currency'), c.name, c.currency
FROM hopsmeter.usage_daily d
JOIN hopsmeter.users u ON u.no = d.account_no
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
WHERE d.date >= (%(since)s AT TIME ZONE 'UTC')::date
  AND d.date < (%(until)s AT TIME ZONE 'UTC')::date AND u.currency IS DISTINCT FROM c.currency
ORDER BY 1, 3 LIMIT %(limit)s;

-- name: entries_misshapen
-- Entries that no posting writes: between codes that do not belong together, with a sign or a key of
-- something else, or that take back what is not there.
WITH wrong AS MATERIALIZED (
SELECT coalesce(u.id, 'account ' || e.account_no), e.id, e.book, e.contra, e.amount_nano
FROM hopsmeter.ledger_entries e
LEFT JOIN hopsmeter.users u ON u.no = e.account_no
LEFT JOIN hopsmeter.ledger_codes c ON c.code = e.contra
WHERE u.no IS NULL OR c.code IS NULL OR e.book NOT BETWEEN 1 AND 3
   OR (e.contra = 11 AND e.usage_day IS NULL)
   OR (e.usage_day IS NOT NULL AND e.contra NOT IN (1, 2, 3, 11, 14))
   OR (e.contra IN (12, 13, 14) AND e.book <> 1)
   OR (e.contra IN (16, 17) AND e.book <> 2)
   OR (e.contra = 12 AND e.amount_nano < 0)
   OR (e.contra = 14 AND e.amount_nano > 0)
   OR (e.contra = 15 AND e.amount_nano > 0 AND NOT EXISTS (   -- but what gives a refund back
        SELECT FROM hopsmeter.ledger_entries o
        WHERE o.id = e.reverses AND o.account_no = e.account_no AND o.contra = 15
          AND o.amount_nano < 0 AND e.ref = o.ref || ':returned'   -- once, then, and all of it
          AND e.amount_nano = (SELECT -sum(t.amount_nano) FROM hopsmeter.ledger_entries t
                               WHERE t.account_no = o.account_no AND t.contra = 15
                                 AND t.ref IN (o.ref, o.ref || ':arrears'))))
   OR (e.ref LIKE 'expiry:%%') <> (e.ref IS NOT NULL AND e.contra = 14)
   OR (e.reverses IS NOT NULL AND NOT EXISTS (
        SELECT FROM hopsmeter.ledger_entries o
        WHERE o.id = e.reverses AND o.account_no = e.account_no AND o.id < e.id)))
SELECT * FROM wrong ORDER BY id LIMIT %(limit)s;

-- name: ledger_sums
-- Per currency: how many entries there are, what is in the books and what was moved by the house.
SELECT u.currency, sum(e.entries), sum(b.balance_nano), sum(e.house_nano)
FROM (SELECT account_no, count(*) AS entries,
             -sum(amount_nano) FILTER (WHERE contra > 3) AS house_nano
      FROM hopsmeter.ledger_entries GROUP BY account_no) e
JOIN hopsmeter.users u ON u.no = e.account_no
LEFT JOIN (SELECT account_no, sum(balance_nano) AS balance_nano FROM hopsmeter.ledger_balances
           GROUP BY account_no) b ON b.account_no = e.account_no
GROUP BY u.currency ORDER BY u.currency;

-- name: entries_without_currency
-- Accounts with entries, and no currency that they could be in.
SELECT u.id FROM hopsmeter.users u
WHERE u.currency IS NULL
  AND EXISTS (SELECT FROM hopsmeter.ledger_balances b
              WHERE b.account_no = u.no AND b.balance_nano <> 0)
ORDER BY u.id LIMIT %(limit)s;

-- name: balances_differ
-- Balances that are not what their entries add up to: into the book, less what another took from it.
WITH moved AS (
    SELECT account_no, book, sum(amount_nano) AS nano FROM hopsmeter.ledger_entries
    GROUP BY account_no, book
    UNION ALL
    SELECT account_no, contra, -sum(amount_nano) FROM hopsmeter.ledger_entries
    WHERE contra <= 3 GROUP BY account_no, contra),
entered AS (SELECT account_no, book, sum(nano) AS nano FROM moved GROUP BY account_no, book)
SELECT coalesce(u.id, 'account ' || account_no), coalesce(c.name, 'book ' || book),
       coalesce(b.balance_nano, 0), coalesce(e.nano, 0)
FROM hopsmeter.ledger_balances b FULL JOIN entered e USING (account_no, book)
LEFT JOIN hopsmeter.ledger_codes c ON c.code = book
LEFT JOIN hopsmeter.users u ON u.no = account_no
WHERE coalesce(b.balance_nano, 0) <> coalesce(e.nano, 0)
ORDER BY account_no, book LIMIT %(limit)s;

-- name: books_missing
-- Books that a user does not have: nothing would be posted in them, and nobody of the account locked.
SELECT u.id, c.name FROM hopsmeter.users u
JOIN hopsmeter.ledger_codes c ON c.code <= 3
LEFT JOIN hopsmeter.ledger_balances b ON b.account_no = u.no AND b.book = c.code
WHERE b.account_no IS NULL ORDER BY u.no, c.code LIMIT %(limit)s;

-- name: told_and_not_posted
-- Posts that the trail tells of, and that the ledger does not have, or not so: by key, what it moved, in
-- the account's currency. What is owed instead of taken stands under the same key, in the arrears.
WITH told AS MATERIALIZED (
    SELECT a.id, u.no AS account_no, u.id AS account, a.after ->> 'key' AS key,
           a.after ->> 'currency' AS currency, u.currency AS own,
           (a.after ->> 'amount_nano')::numeric - (a.after ->> 'owed_nano')::numeric AS nano
    FROM hopsmeter.audit_log a JOIN hopsmeter.users u ON 'account ' || u.id = a.subject
    WHERE a.action IN ('credits.grant', 'credits.purchase', 'credits.adjust', 'credits.refund')
      AND a.after ? 'key'),
posted AS MATERIALIZED (
    SELECT account_no, regexp_replace(ref, ':arrears$', '') AS key, sum(amount_nano) AS nano
    FROM hopsmeter.ledger_entries WHERE ref IS NOT NULL GROUP BY 1, 2)
SELECT t.account, t.key, t.currency, t.nano, coalesce(t.own, 'no currency'), p.nano
FROM told t LEFT JOIN posted p USING (account_no, key)
WHERE p.nano IS DISTINCT FROM t.nano OR t.own IS DISTINCT FROM t.currency
ORDER BY t.id LIMIT %(limit)s;

-- name: lots_differ
-- Lots whose rest is not what came in and what was drawn from them.
WITH drawn AS MATERIALIZED (
    SELECT lot_id, sum(amount_nano) AS nano FROM hopsmeter.credit_draws GROUP BY lot_id)
SELECT coalesce(u.id, 'account ' || l.account_no), l.id, l.remaining_nano,
       l.amount_nano + coalesce(d.nano, 0)
FROM hopsmeter.credit_lots l
LEFT JOIN drawn d ON d.lot_id = l.id
LEFT JOIN hopsmeter.users u ON u.no = l.account_no
WHERE l.remaining_nano <> l.amount_nano + coalesce(d.nano, 0) OR l.remaining_nano < 0
ORDER BY l.id LIMIT %(limit)s;

-- name: lots_misshapen
-- Lots that are not what their entry made of them, and what the trail says of it; or whose expiry is
-- posted before its day, or left something in them.
SELECT coalesce(u.id, 'account ' || l.account_no), l.id,
       CASE WHEN e.account_no IS DISTINCT FROM l.account_no THEN 'its entry is another account''s'
            WHEN l.kind <> CASE e.contra WHEN 12 THEN 'purchase' WHEN 13 THEN 'grant'
                                         WHEN 11 THEN 'correction' WHEN 15 THEN 'correction' ELSE '' END
                 OR e.book <> 1 THEN 'its entry is no ' || l.kind
            WHEN l.expired_at IS NOT NULL AND l.remaining_nano <> 0
                 THEN 'its expiry is posted, and something is left'
            WHEN l.expired_at IS NOT NULL AND coalesce(l.expires_on > %(today)s, true)
                 THEN 'its expiry is posted before its day'
            WHEN (l.kind = 'purchase') <> (t.action = 'credits.purchase')
                 THEN 'the trail says ' || t.action
            ELSE 'the trail says ' || coalesce(t.after ->> 'amount_nano', '?') || ' nano until '
                 || coalesce(t.after ->> 'expires_on', 'ever') END
FROM hopsmeter.credit_lots l
LEFT JOIN hopsmeter.ledger_entries e ON e.id = l.entry_id
LEFT JOIN hopsmeter.users u ON u.no = l.account_no
LEFT JOIN LATERAL (
    SELECT a.after, a.action FROM hopsmeter.audit_log a
    WHERE a.subject = 'account ' || u.id AND a.after ->> 'key' = e.ref
      AND a.action IN ('credits.grant', 'credits.purchase', 'credits.adjust')
    ORDER BY a.id LIMIT 1) t ON l.kind <> 'correction'
WHERE e.account_no IS DISTINCT FROM l.account_no OR e.book <> 1
   OR l.kind <> CASE e.contra WHEN 12 THEN 'purchase' WHEN 13 THEN 'grant'
                              WHEN 11 THEN 'correction' WHEN 15 THEN 'correction' ELSE '' END
   OR l.expired_at IS NOT NULL
      AND (l.remaining_nano <> 0
           OR coalesce(l.expires_on > %(today)s, true) AND NOT EXISTS (   -- nor ended by a person
               SELECT FROM hopsmeter.audit_log x
               WHERE x.action = 'credits.expire' AND x.subject = 'account ' || u.id
                 AND (x.before ->> 'lot')::bigint = l.id))
   OR t.after IS NOT NULL
      AND ((t.after ->> 'amount_nano')::bigint <> l.amount_nano
           OR (l.kind = 'purchase') <> (t.action = 'credits.purchase')
           OR t.after ->> 'expires_on' IS DISTINCT FROM l.expires_on::text)
ORDER BY l.id LIMIT %(limit)s;

-- name: draws_astray
-- Draws from a lot that is not there, is another account's, came later, or was past its date for the
-- day that it paid; or an expiry that emptied another lot than it names.
WITH wrong AS MATERIALIZED (
SELECT e.account_no, d.entry_id, d.lot_id, d.amount_nano
FROM hopsmeter.credit_draws d
LEFT JOIN hopsmeter.ledger_entries e ON e.id = d.entry_id
LEFT JOIN hopsmeter.credit_lots l ON l.id = d.lot_id
WHERE l.id IS NULL OR e.account_no IS DISTINCT FROM l.account_no OR d.entry_id <= l.entry_id
   OR (e.contra = 11 AND d.amount_nano < 0 AND l.expires_on <= e.usage_day)
   OR (e.ref LIKE 'expiry:%%' AND e.ref <> 'expiry:' || d.lot_id))
SELECT coalesce(u.id, 'no account'), w.entry_id, w.lot_id, w.amount_nano
FROM wrong w LEFT JOIN hopsmeter.users u ON u.no = w.account_no
ORDER BY w.entry_id, w.lot_id LIMIT %(limit)s;

-- name: draws_differ
-- Entries that moved credits by another amount than they drew from lots, gave back or made lots of;
-- and draws of no entry.
WITH moved AS (
    SELECT id AS entry_id, CASE WHEN book = 1 THEN amount_nano ELSE -amount_nano END AS nano
    FROM hopsmeter.ledger_entries WHERE book = 1 OR contra = 1),
-- Each in the order of its key: so they are merged, and nothing is sorted or kept.
drawn AS (
    SELECT entry_id, sum(amount_nano) AS nano FROM hopsmeter.credit_draws GROUP BY entry_id),
made AS (
    SELECT entry_id, sum(amount_nano) AS nano FROM hopsmeter.credit_lots GROUP BY entry_id),
wrong AS MATERIALIZED (
    SELECT entry_id, coalesce(m.nano, 0) AS moved, coalesce(d.nano, 0) + coalesce(l.nano, 0) AS held
    FROM moved m FULL JOIN drawn d USING (entry_id) FULL JOIN made l USING (entry_id)
    WHERE coalesce(m.nano, 0) <> coalesce(d.nano, 0) + coalesce(l.nano, 0)),
named AS (SELECT * FROM wrong ORDER BY entry_id LIMIT %(limit)s)
SELECT coalesce(u.id, 'no account'), entry_id, moved, held FROM named
LEFT JOIN hopsmeter.ledger_entries e ON e.id = entry_id
LEFT JOIN hopsmeter.users u ON u.no = e.account_no
ORDER BY entry_id;

-- name: credits_beside_arrears
-- Accounts whose lots do not add up to their credits, or that owe arrears while a lot could pay them;
-- or whose arrears are repaid more than they were.
SELECT u.id, coalesce(k.balance_nano, 0), coalesce(l.nano, 0), coalesce(-r.balance_nano, 0)
FROM hopsmeter.users u
LEFT JOIN (SELECT account_no, sum(remaining_nano) AS nano,
                  coalesce(sum(remaining_nano)
                      FILTER (WHERE expires_on IS NULL OR expires_on > %(today)s), 0) AS usable
           FROM hopsmeter.credit_lots GROUP BY account_no) l ON l.account_no = u.no
LEFT JOIN hopsmeter.ledger_balances k ON k.account_no = u.no AND k.book = 1
LEFT JOIN hopsmeter.ledger_balances r ON r.account_no = u.no AND r.book = 3
WHERE coalesce(k.balance_nano, 0) <> coalesce(l.nano, 0)
   OR l.usable > 0 AND r.balance_nano < 0
   OR k.balance_nano < 0 OR r.balance_nano > 0
ORDER BY u.no LIMIT %(limit)s;

-- name: beyond_limit
-- Accounts whose arrears are beyond their policy, or that are marked so: whether they are, since when
-- they are marked, and whether that came of an entry or a policy of the last minutes, which the next
-- posting marks.
SELECT u.id, -r.balance_nano, coalesce(c.grace_nano, 0), c.beyond_at IS NOT NULL,
       -r.balance_nano > coalesce(c.grace_nano, 0),
       EXISTS (SELECT FROM hopsmeter.ledger_entries e
               WHERE e.account_no = r.account_no AND (e.book = 3 OR e.contra = 3)
                 AND e.at > clock_timestamp() - interval '10 minutes')
       OR EXISTS (SELECT FROM hopsmeter.audit_log a
                  WHERE a.subject = 'account ' || u.id AND a.action = 'account.policy'
                    AND a.at > clock_timestamp() - interval '10 minutes')
FROM hopsmeter.ledger_balances r JOIN hopsmeter.users u ON u.no = r.account_no
LEFT JOIN hopsmeter.user_credits c ON c.account_no = r.account_no
WHERE r.book = 3 AND u.status = 'active'
  AND (-r.balance_nano > coalesce(c.grace_nano, 0) OR c.beyond_at IS NOT NULL)
ORDER BY u.no;

-- name: statements_frozen
-- How many frozen statements were compared.
SELECT count(*) FROM hopsmeter.statements
WHERE month >= date_trunc('month', %(since)s::timestamptz, 'UTC') AND month < %(until)s;

-- name: missing_windows
-- Hours since metering began that have no row.
SELECT c.name, '', every.hour FROM hopsmeter.hopsworks_clusters c
CROSS JOIN LATERAL generate_series(
    greatest(c.metering_since, date_trunc('hour', %(since)s::timestamptz, 'UTC')),
    least(%(newest)s, %(until)s::timestamptz - interval '1 hour'), interval '1 hour')
    AS every (hour)
LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = every.hour
WHERE w.hour IS NULL AND c.status <> 'removed'
LIMIT %(limit)s;

-- name: waived_without_reason
-- Waived hours and gaps that do not say why.
SELECT c.name, w.state, w.hour FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE w.state IN ('waived', 'gap') AND w.why = ''
  AND w.hour >= %(since)s AND w.hour < %(until)s
LIMIT %(limit)s;

-- name: given_up_and_stored
-- Hours that count as not in the books, of which something is stored.
SELECT c.name, w.state, w.hour FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE w.state IN ('due', 'failed', 'refused', 'gap', 'waived') AND w.revision > 0
  AND w.hour >= %(since)s AND w.hour < %(until)s
ORDER BY w.hour, c.name LIMIT %(limit)s;

-- name: kept_and_not_stored
-- Hours that count as in the books, of which nothing is stored.
SELECT c.name, w.state, w.hour FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE w.state IN ('collected', 'settled', 'held') AND w.revision = 0
  AND w.hour >= %(since)s AND w.hour < %(until)s
ORDER BY w.hour, c.name LIMIT %(limit)s;

-- name: windows_astray
-- Hours with a row that is none of their cluster's: before its metering began, or not over yet.
SELECT c.name, w.state, w.hour FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE w.hour >= %(since)s AND w.hour < %(until)s
  AND (w.hour < c.metering_since OR w.hour > %(newest)s + interval '1 hour')
ORDER BY w.hour, c.name LIMIT %(limit)s;

-- name: window_states
-- How many hours are in which state.
SELECT state, count(*) FROM hopsmeter.collection_windows
WHERE hour >= %(since)s AND hour < %(until)s GROUP BY state ORDER BY state;

-- name: span
-- From the first hour that is or should be in the books, or day of the ledger, to the last.
SELECT least(%(newest)s, (SELECT min(hour) FROM hopsmeter.collection_windows),
             (SELECT min(least(posted_on, usage_day))::timestamp AT TIME ZONE 'UTC'
              FROM hopsmeter.ledger_entries),
             (SELECT min(metering_since) FROM hopsmeter.hopsworks_clusters
              WHERE status <> 'removed')),
       greatest(%(newest)s, (SELECT max(hour) FROM hopsmeter.collection_windows),
                (SELECT max(greatest(posted_on, usage_day))::timestamp AT TIME ZONE 'UTC'
                 FROM hopsmeter.ledger_entries));

-- name: allocation
-- One allocation with everything that made it what it is.
SELECT a.*, c.currency, w.state, w.why AS window_why, k.name AS kind_name, w.raw_sha256,
       u.id AS user_id, o.id AS account_id, p.project, lower(p.valid) AS since,
       upper(p.valid) AS until, p.source, p.created_by, r.name AS plan,
       r.currency AS plan_currency, v.*, v.valid_from AS plan_since,
       hopsmeter.charge_nano(a, v, f) AS charge_nano,
       f.cpu_core_hours_micro AS free_cpu, f.gpu_hours_micro AS free_gpu,
       f.ram_byte_hours AS free_ram, f.pv_byte_hours AS free_pv,
       f.network_transfer_bytes AS free_network,
       raw.asked_at, raw.size_bytes, raw.body
FROM hopsmeter.allocations a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
JOIN hopsmeter.allocation_kinds k ON k.kind = a.kind
JOIN hopsmeter.collection_windows w ON w.cluster_id = a.cluster_id AND w.hour = a.hour
LEFT JOIN hopsmeter.users u ON u.no = a.user_no
LEFT JOIN hopsmeter.users o ON o.no = a.account_no
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = a.cluster_id AND p.namespace = n.name AND p.valid @> a.hour
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.rate_plans r ON r.id = v.plan_id
LEFT JOIN hopsmeter.raw_answers raw
    ON raw.hour = a.hour AND raw.cluster_id = a.cluster_id AND raw.sha256 = w.raw_sha256
LEFT JOIN LATERAL hopsmeter.free_parts(
    a.hour, a.hour + interval '1 hour', ARRAY[a.account_no], NULL) f
    ON f.namespace_id = a.namespace_id
WHERE c.name = %(cluster)s AND n.name = %(namespace)s AND a.hour = %(hour)s;

-- name: history
-- The revisions of one allocation that were replaced, newest first.
SELECT h.revision, h.total_nano, u.id AS user_id, r.name AS plan, r.currency AS plan_currency, v.*,
       -- What was free of it then is not kept.
       CASE WHEN num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                              v.network_included) = 0
            THEN hopsmeter.charge_nano(a, v, NULL) END AS charge_nano,
       h.replaced_at, h.replaced_why, h.raw_sha256
FROM hopsmeter.allocation_history h
-- The same row as what the function takes.
CROSS JOIN LATERAL jsonb_populate_record(NULL::hopsmeter.allocations, to_jsonb(h)) a
JOIN hopsmeter.namespaces n ON n.id = h.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = h.cluster_id
LEFT JOIN hopsmeter.users u ON u.no = h.user_no
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = h.plan_version_id
LEFT JOIN hopsmeter.rate_plans r ON r.id = v.plan_id
WHERE c.name = %(cluster)s AND n.name = %(namespace)s AND h.hour = %(hour)s
ORDER BY h.revision DESC;

-- name: cluster_known
-- Whether there is, or was, a cluster of that name.
SELECT FROM hopsmeter.hopsworks_clusters WHERE name = %(cluster)s;

-- name: why_none
-- What the ledger of hours says of an hour of which an allocation is missing.
SELECT w.state, w.why, w.revision FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE c.name = %(cluster)s AND w.hour = %(hour)s;

-- name: hours_counted
-- Per cluster that was metered in a time: its hours until now, and how many of them are stored.
SELECT c.name, count(*), count(*) FILTER (WHERE w.revision > 0)
FROM hopsmeter.hopsworks_clusters c
CROSS JOIN LATERAL generate_series(greatest(c.metering_since, %(since)s),
    least(%(newest)s, %(until)s::timestamptz - interval '1 hour'), interval '1 hour') AS h (hour)
LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = h.hour
WHERE w.hour IS NOT NULL OR c.status <> 'removed'
GROUP BY c.name ORDER BY c.name;

-- name: hours_unsettled
-- Hours that are not in the books for good, with their state and reason; one without a row is missing.
SELECT c.name, h.hour, coalesce(w.state, 'missing'), coalesce(w.why, '')
FROM hopsmeter.hopsworks_clusters c
CROSS JOIN LATERAL generate_series(greatest(c.metering_since, %(since)s),
    least(%(newest)s, %(until)s::timestamptz - interval '1 hour'), interval '1 hour') AS h (hour)
LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = h.hour
WHERE w.state IS DISTINCT FROM 'settled' AND (w.hour IS NOT NULL OR c.status <> 'removed')
ORDER BY c.name, h.hour;

-- name: clusters_of
-- On which clusters accounts, or their team, had namespaces or were charged in a time.
SELECT DISTINCT coalesce(o.no, u.no), c.name
FROM hopsmeter.user_projects p
JOIN hopsmeter.users u ON u.no = p.user_no
LEFT JOIN hopsmeter.users o ON o.id = u.account_owner_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id
WHERE coalesce(o.no, u.no) = ANY (%(accounts)s)
  AND p.valid && tstzrange(%(since)s, %(until)s)
UNION
SELECT d.account_no, c.name FROM hopsmeter.usage_daily d
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
WHERE d.account_no = ANY (%(accounts)s)
  AND d.date >= (%(since)s AT TIME ZONE 'UTC')::date
  AND d.date < (%(until)s AT TIME ZONE 'UTC')::date;
