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
-- Entries of the month that are no charges.
SELECT account_no, id AS entry, posted_on, book, contra, amount_nano, ref
FROM hopsmeter.account_entries
WHERE account_no = ANY (%(accounts)s) AND contra <> 11
  AND posted_on >= %(first)s AND posted_on < %(after)s
ORDER BY account_no, id;

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

-- name: frozen
-- A frozen statement, and when its month was closed.
SELECT s.body, s.sha256, m.closed_at FROM hopsmeter.statements s
JOIN hopsmeter.closed_months m ON m.month = s.month
WHERE s.account_no = %(account_no)s AND s.month = %(first)s;

-- name: is_closed
-- Whether nothing can be posted in a month any more: it is closed, or a later one is.
SELECT coalesce(%(first)s < hopsmeter.open_from(), false);
