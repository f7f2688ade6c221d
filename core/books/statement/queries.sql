-- The figures of statements, of many accounts at once; by posting date.

-- name: payers
-- The accounts by their names.
SELECT no, id, email, name, coalesce(currency, '') FROM hopsmeter.users
WHERE no = ANY (%(accounts)s) ORDER BY no;

-- name: books
-- What was in each book when the month began, and when it ended; how many entries are between, and
-- their hash. An entry between two books moves both.
WITH totals AS MATERIALIZED (
    SELECT account_no, book, contra, posted_on < %(first)s AS is_before, sum(amount_nano) AS nano
    FROM hopsmeter.account_entries
    WHERE account_no = ANY (%(accounts)s) AND posted_on < %(after)s GROUP BY 1, 2, 3, 4),
moved AS (
    SELECT account_no, book, nano, is_before FROM totals
    UNION ALL
    SELECT account_no, contra, -nano, is_before FROM totals WHERE contra <= 3),
sums AS (
    SELECT account_no,
           coalesce(sum(nano) FILTER (WHERE book = 1 AND is_before), 0)::bigint AS opening_credits,
           coalesce(sum(nano) FILTER (WHERE book = 2 AND is_before), 0)::bigint
               AS opening_receivable,
           coalesce(sum(nano) FILTER (WHERE book = 3 AND is_before), 0)::bigint AS opening_arrears,
           coalesce(sum(nano) FILTER (WHERE book = 1), 0)::bigint AS closing_credits,
           coalesce(sum(nano) FILTER (WHERE book = 2), 0)::bigint AS closing_receivable,
           coalesce(sum(nano) FILTER (WHERE book = 3), 0)::bigint AS closing_arrears
    FROM moved GROUP BY account_no),
hashed AS (
    SELECT account_no, count(*) AS entries,
           sha256(convert_to(string_agg(hopsmeter.entry_text(id, book, contra, amount_nano,
               posted_on, usage_day, posting_no, ref), E'\n' ORDER BY id), 'UTF8')) AS sha256
    FROM hopsmeter.account_entries
    WHERE account_no = ANY (%(accounts)s) AND posted_on >= %(first)s AND posted_on < %(after)s
    GROUP BY account_no)
SELECT a.no AS account_no, coalesce(opening_credits, 0) AS opening_credits,
       coalesce(opening_receivable, 0) AS opening_receivable,
       coalesce(opening_arrears, 0) AS opening_arrears,
       coalesce(closing_credits, 0) AS closing_credits,
       coalesce(closing_receivable, 0) AS closing_receivable,
       coalesce(closing_arrears, 0) AS closing_arrears,
       coalesce(entries, 0) AS entries, coalesce(h.sha256, sha256('')) AS sha256
FROM unnest(%(accounts)s::int[]) a (no)
LEFT JOIN sums s ON s.account_no = a.no LEFT JOIN hashed h ON h.account_no = a.no;

-- name: charges
-- Entries against revenue that were posted in the month, by day, posting where the day lies outside
-- of it, and book.
SELECT account_no, usage_day, CASE WHEN is_own THEN 0 ELSE posting_no END AS posting_no,
       CASE WHEN is_own THEN usage_day ELSE posted_on END AS posted_on, is_own,
       -coalesce(sum(amount_nano), 0)::bigint AS charge_nano,
       -coalesce(sum(amount_nano) FILTER (WHERE book = 1), 0)::bigint AS credits_nano,
       -coalesce(sum(amount_nano) FILTER (WHERE book = 2), 0)::bigint AS receivable_nano,
       -coalesce(sum(amount_nano) FILTER (WHERE book = 3), 0)::bigint AS arrears_nano
FROM (SELECT *, usage_day >= %(first)s AND usage_day < %(after)s AS is_own
      FROM hopsmeter.account_entries
      WHERE account_no = ANY (%(accounts)s) AND contra = 11
        AND posted_on >= %(first)s AND posted_on < %(after)s) e
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3;

-- name: charge_draws
-- Which lots those charges were paid from.
SELECT e.account_no, e.usage_day,
       CASE WHEN e.usage_day >= %(first)s AND e.usage_day < %(after)s THEN 0
            ELSE e.posting_no END AS posting_no,
       d.lot_id, -sum(d.amount_nano)::bigint AS amount_nano
FROM hopsmeter.account_entries e JOIN hopsmeter.credit_draws d ON d.entry_id = e.id
WHERE e.account_no = ANY (%(accounts)s) AND e.contra = 11
  AND e.posted_on >= %(first)s AND e.posted_on < %(after)s
GROUP BY 1, 2, 3, 4 HAVING sum(d.amount_nano) <> 0 ORDER BY 1, 2, 3, 4;

-- name: lines
-- What the stored hours of the month are charged, by day, namespace, user and plan; of hours that are
-- posted or wait to be posted again.
SELECT a.account_no, (a.hour AT TIME ZONE 'UTC')::date AS day, c.name AS cluster,
       n.name AS namespace, coalesce(p.project, '') AS project, u.email AS user,
       coalesce(v.words, '') AS plan, count(*)::int AS hours, sum(a.total_nano)::bigint AS cost_nano,
       sum(a.charge_nano)::bigint AS charge_nano
FROM hopsmeter.current_charges(
        %(first)s::date::timestamp AT TIME ZONE 'UTC', %(after)s::date::timestamp AT TIME ZONE 'UTC',
        %(accounts)s) a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
JOIN hopsmeter.users u ON u.no = a.user_no
LEFT JOIN hopsmeter.plan_words v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = a.cluster_id AND p.namespace = n.name AND p.valid @> a.hour
WHERE a.kind = 1 AND a.account_no = ANY (%(accounts)s)
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7;

-- name: movements
-- Entries of the month that are no charges, nor reported to Stripe or settled beside it.
SELECT account_no, id AS entry, posted_on, book, contra, amount_nano, ref
FROM hopsmeter.account_entries
WHERE account_no = ANY (%(accounts)s) AND contra NOT IN (11, 16, 17)
  AND posted_on >= %(first)s AND posted_on < %(after)s
ORDER BY account_no, id;

-- name: told
-- What was reported to Stripe in the month, and settled outside of it, all together.
SELECT account_no,
       coalesce(sum(amount_nano) FILTER (WHERE contra = 16), 0)::bigint AS reported_nano,
       count(*) FILTER (WHERE contra = 16) AS reports,
       coalesce(sum(amount_nano) FILTER (WHERE contra = 17), 0)::bigint AS settled_nano,
       count(*) FILTER (WHERE contra = 17) AS settlements
FROM hopsmeter.account_entries
WHERE account_no = ANY (%(accounts)s) AND contra IN (16, 17)
  AND posted_on >= %(first)s AND posted_on < %(after)s
GROUP BY account_no;

-- name: movement_lots
-- Which lots those made, drew from or gave back to.
SELECT e.account_no, e.id AS entry, l.lot_id, l.amount_nano
FROM hopsmeter.account_entries e
JOIN (SELECT entry_id, lot_id, amount_nano FROM hopsmeter.credit_draws
      UNION ALL SELECT entry_id, id, amount_nano FROM hopsmeter.credit_lots) l ON l.entry_id = e.id
WHERE e.account_no = ANY (%(accounts)s) AND e.contra <> 11
  AND e.posted_on >= %(first)s AND e.posted_on < %(after)s
ORDER BY 1, 2, 3;

-- name: lots
-- What lots began the month with, what came and went by what it was for, and what they ended it with.
-- Lots that were empty before it are left out.
WITH moved AS (
    SELECT l.id AS lot, e.posted_on, e.contra, e.book, d.amount_nano
    FROM hopsmeter.credit_lots l
    JOIN (SELECT entry_id, lot_id, amount_nano, false AS is_made FROM hopsmeter.credit_draws
          UNION ALL
          SELECT entry_id, id, amount_nano, true FROM hopsmeter.credit_lots) d ON d.lot_id = l.id
    JOIN hopsmeter.ledger_entries e ON e.id = d.entry_id
    WHERE l.account_no = ANY (%(accounts)s) AND e.posted_on < %(after)s),
sums AS (
    SELECT lot,
           coalesce(sum(amount_nano) FILTER (WHERE posted_on < %(first)s), 0)::bigint
               AS opening_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND contra IN (12, 13) AND amount_nano > 0),
               0)::bigint AS came_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND contra = 11), 0)::bigint AS charged_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND book = 3), 0)::bigint AS repaid_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND contra IN (12, 13) AND amount_nano < 0),
               0)::bigint AS taken_back_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND contra = 15), 0)::bigint AS refunded_nano,
           coalesce(sum(amount_nano)
               FILTER (WHERE posted_on >= %(first)s AND contra = 14), 0)::bigint AS expired_nano,
           sum(amount_nano)::bigint AS closing_nano,
           bool_or(posted_on >= %(first)s) AS is_moved
    FROM moved GROUP BY lot)
SELECT l.account_no, s.lot, l.kind, coalesce(o.ref, '') AS ref, l.expires_on, s.opening_nano,
       s.came_nano, s.charged_nano, s.repaid_nano, s.taken_back_nano, s.refunded_nano,
       s.expired_nano, s.closing_nano
FROM sums s JOIN hopsmeter.credit_lots l ON l.id = s.lot
LEFT JOIN hopsmeter.ledger_entries o ON o.id = l.entry_id
WHERE s.opening_nano <> 0 OR s.closing_nano <> 0 OR s.is_moved
ORDER BY l.account_no, s.lot;

-- name: restated
-- What later postings of hours of some accounts changed of their charge, by day, cluster and what it was:
-- each allocation as of the revision that a posting brought, beside what it was as of the posting of that
-- hour before. Amounts are left out where something was free: how much of it is not kept. Only what has
-- more than one revision is looked at, and each by its key, so hours that nobody changed cost nothing.
-- A replaced row is spelled out where replaced_charges goes through JSON, which is five times dearer.
WITH mine AS MATERIALIZED (
    SELECT hour, cluster_id, namespace_id FROM hopsmeter.allocations
    WHERE hour >= %(since)s AND hour < %(until)s AND revision > 1
      AND account_no = ANY (%(accounts)s::int[])
    UNION
    SELECT hour, cluster_id, namespace_id FROM hopsmeter.allocation_history
    WHERE hour >= %(since)s AND hour < %(until)s AND account_no = ANY (%(accounts)s::int[])),
replaced AS NOT MATERIALIZED (
    SELECT h.hour, h.namespace_id, h.revision, h.account_no, h.plan_version_id,
           CASE WHEN num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                                  v.network_included) = 0
                THEN hopsmeter.charge_nano(
                    ROW(h.hour, h.namespace_id, h.cluster_id, h.kind, h.flags, h.revision, h.user_no,
                        h.account_no, h.plan_version_id, h.cpu_nano, h.gpu_nano, h.ram_nano,
                        h.pv_nano, h.network_nano, h.load_balancer_nano, h.shared_nano,
                        h.external_nano, h.adjustment_nano, h.rounding_nano, h.total_nano,
                        h.cpu_core_hours_micro, h.gpu_hours_micro, h.ram_byte_hours,
                        h.pv_byte_hours, h.network_transfer_bytes, h.network_receive_bytes,
                        h.minutes_micro, h.efficiency_ppm)::hopsmeter.allocations, v, NULL)
                END AS charge_nano
    FROM hopsmeter.allocation_history h
    LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = h.plan_version_id),
changed AS (
    SELECT p.payer, m.hour, m.cluster_id, m.namespace_id,
           CASE WHEN now.account_no IS DISTINCT FROM p.payer THEN 'went'
                WHEN was.revision IS NULL THEN 'restated'
                WHEN was.account_no IS DISTINCT FROM p.payer THEN 'came'
                ELSE (SELECT CASE WHEN bool_and(k.kind = 'restated') THEN 'restated'
                                  WHEN bool_or(k.kind = 'plan') THEN 'plan'
                                  WHEN bool_or(k.kind = 'owner') THEN 'owner' ELSE 'other' END
                      FROM hopsmeter.allocation_history h
                      CROSS JOIN LATERAL (SELECT CASE
                          WHEN h.replaced_why IN ('restated', 'accepted') THEN 'restated'
                          ELSE split_part(h.replaced_why, ':', 1) END) k (kind)
                      WHERE h.hour = m.hour AND h.namespace_id = m.namespace_id
                        AND h.revision >= was.revision AND h.revision < now.revision)
                END AS what,
           CASE WHEN now.account_no = p.payer THEN coalesce(now.charge_nano, 0) ELSE 0 END
               - CASE WHEN was.account_no = p.payer THEN coalesce(was.charge_nano, 0) ELSE 0 END
               AS moved_nano,
           (now.account_no = p.payer AND now.plan_version_id IS NOT NULL
                AND now.charge_nano IS NULL) IS TRUE
               OR (was.account_no = p.payer AND was.plan_version_id IS NOT NULL
                   AND was.charge_nano IS NULL) IS TRUE AS shares_free
    FROM mine m
    CROSS JOIN LATERAL (
        SELECT revision, lag(revision) OVER (ORDER BY posting_no) AS before
        FROM hopsmeter.posted_hours WHERE hour = m.hour AND cluster_id = m.cluster_id) g
    CROSS JOIN LATERAL (
        SELECT a.revision, a.account_no, a.plan_version_id,
               CASE WHEN num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included,
                                      v.pv_included, v.network_included) = 0
                    THEN hopsmeter.charge_nano(a, v, NULL) END AS charge_nano
        FROM hopsmeter.allocations a
        LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
        WHERE a.hour = m.hour AND a.namespace_id = m.namespace_id
          AND a.revision > g.before AND a.revision <= g.revision
        UNION ALL
        SELECT r.revision, r.account_no, r.plan_version_id, r.charge_nano
        FROM replaced r
        WHERE r.hour = m.hour AND r.namespace_id = m.namespace_id
          AND r.revision > g.before AND r.revision <= g.revision
        ORDER BY revision DESC LIMIT 1) now
    LEFT JOIN LATERAL (
        SELECT r.revision, r.account_no, r.plan_version_id, r.charge_nano
        FROM replaced r
        WHERE r.hour = m.hour AND r.namespace_id = m.namespace_id AND r.revision <= g.before
        ORDER BY r.revision DESC LIMIT 1) was ON true
    JOIN LATERAL (
        SELECT DISTINCT no FROM unnest(ARRAY[now.account_no, was.account_no]) u (no)
        WHERE no = ANY (%(accounts)s::int[])) p (payer) ON true)
SELECT x.payer AS account_no, (x.hour AT TIME ZONE 'UTC')::date AS day, c.name AS cluster, x.what,
       x.shares_free, array_agg(DISTINCT n.name) AS namespaces,
       array_agg(DISTINCT extract(hour FROM x.hour AT TIME ZONE 'UTC')::int) AS hours,
       sum(x.moved_nano)::bigint AS moved_nano
FROM changed x
JOIN hopsmeter.hopsworks_clusters c ON c.id = x.cluster_id
JOIN hopsmeter.namespaces n ON n.id = x.namespace_id
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;

-- name: frozen
-- A frozen statement, and when its month was closed.
SELECT s.body, s.sha256, m.closed_at FROM hopsmeter.statements s
JOIN hopsmeter.closed_months m ON m.month = s.month
WHERE s.account_no = %(account_no)s AND s.month = %(first)s;

-- name: is_closed
-- Whether nothing can be posted in a month any more: it is closed, or a later one is.
SELECT coalesce(%(first)s < hopsmeter.open_from(), false);
