-- Invoices beside what is counted for their days, in a span of instants; of one account or invoice where one is named.

-- name: final
-- Final invoices over usage: what each bills, and what counts as told of its days. As `stripe_billed_days` has it, but
-- of all days of an invoice at once: of all that were ever made that is three times as quick.
SELECT i.id AS invoice_id, coalesce(u.id, 'account ' || i.account_no) AS account_id,
       coalesce(u.email, '') AS email, i.currency, (i.usage_start AT TIME ZONE 'UTC')::date AS day,
       ((i.usage_end AT TIME ZONE 'UTC') - interval '1 microsecond')::date AS last_day,
       i.units, c.units AS counted, i.line_minor, i.fetched_at, i.status = 'void' AS is_void,
       i.compared_at IS NULL AS is_pending,
       i.id IN (SELECT invoice_id FROM hopsmeter.stripe_put_right_now WHERE what = 'differs') AS is_put_right,
       i.id IN (SELECT invoice_id FROM hopsmeter.stripe_put_right_now WHERE what = 'twice') AS is_given_back
FROM hopsmeter.stripe_invoices i
LEFT JOIN hopsmeter.users u ON u.no = i.account_no
JOIN hopsmeter.stripe_invoice_days b ON b.id = i.id
CROSS JOIN LATERAL (
    SELECT (coalesce(sum(d.units), 0) + i.beside_units
            - coalesce((SELECT sum(o.beside_units) FROM hopsmeter.stripe_invoices o
                        WHERE o.account_no = i.account_no AND o.beside_units <> 0
                          AND o.beside_day >= b.first AND o.beside_day < b.after), 0))::bigint AS units
    FROM hopsmeter.stripe_days d
    WHERE d.account_no = i.account_no AND d.day >= b.first AND d.day < b.after) c
WHERE i.finalized_at IS NOT NULL AND i.units IS NOT NULL
  AND i.usage_start < %(until)s AND i.usage_end > %(since)s
  AND (%(account_no)s::int IS NULL OR i.account_no = %(account_no)s)
  AND (%(invoice)s::text IS NULL OR i.id = %(invoice)s)
ORDER BY i.usage_start, i.account_no, i.id;

-- name: twice
-- Days that two metered invoices of an account bill, final or to be final; of each pair the one that is not of
-- the account's own subscription is the other. None of a void one, of one that bills nothing, or that a person put
-- right. What was made anew of an invoice, of the same subscription, takes its place once it is final.
WITH metered AS MATERIALIZED (
    SELECT i.id, i.account_no, i.subscription_id, i.status, i.finalized_at, d.first, d.after,
           i.subscription_id = u.stripe_subscription_id IS TRUE AS is_own
    FROM hopsmeter.stripe_invoices i
    JOIN hopsmeter.stripe_invoice_days d ON d.id = i.id
    JOIN hopsmeter.users u ON u.no = i.account_no
    WHERE i.status <> 'void' AND i.units > 0
      AND i.usage_start < %(until)s AND i.usage_end > %(since)s
      AND (%(account_no)s::int IS NULL OR i.account_no = %(account_no)s)
      AND i.id NOT IN (SELECT invoice_id FROM hopsmeter.stripe_put_right_now WHERE what = 'twice'))
SELECT u.id AS account_id, u.email, u.currency, greatest(o.first, t.first) AS day,
       least(o.after, t.after) - 1 AS last_day, o.id AS invoice_id, t.id AS other_id,
       o.subscription_id, t.subscription_id AS other_subscription_id, o.is_own, t.status AS other_status
FROM metered o JOIN metered t ON t.account_no = o.account_no AND t.id <> o.id
                             AND (t.is_own < o.is_own OR t.is_own = o.is_own AND t.id > o.id)
JOIN hopsmeter.users u ON u.no = o.account_no
WHERE greatest(o.first, t.first) < least(o.after, t.after)
  AND greatest(o.first, t.first) < (%(until)s AT TIME ZONE 'UTC')::date
  AND least(o.after, t.after) > (%(since)s AT TIME ZONE 'UTC')::date
  AND (o.subscription_id IS DISTINCT FROM t.subscription_id
       OR o.finalized_at IS NOT NULL AND t.finalized_at IS NOT NULL)
  AND (%(invoice)s::text IS NULL OR %(invoice)s IN (o.id, t.id))
ORDER BY u.email, u.id, day, o.id, t.id;

-- name: void
-- Void invoices over usage, by day: units that count as told, and that no other invoice stands for. Of two that are
-- void and have the same day it is named once, by the account's own.
SELECT * FROM (
    SELECT DISTINCT ON (u.email, u.id, c.day, CASE WHEN c.is_beside THEN i.id END)
           i.id AS invoice_id, u.id AS account_id, u.email, u.currency, c.day, c.units, c.is_beside,
           i.compared_at IS NULL AS is_pending
    FROM hopsmeter.stripe_invoices i
    JOIN hopsmeter.stripe_billed_days c ON c.invoice_id = i.id AND c.units <> 0
    JOIN hopsmeter.users u ON u.no = i.account_no
    WHERE i.status = 'void' AND i.units > 0 AND i.usage_start < %(until)s AND i.usage_end > %(since)s
      AND (%(account_no)s::int IS NULL OR i.account_no = %(account_no)s)
      AND (c.is_beside
           OR NOT EXISTS (
               SELECT FROM hopsmeter.stripe_invoices o JOIN hopsmeter.stripe_invoice_days b ON b.id = o.id
               WHERE o.account_no = i.account_no AND o.id <> i.id AND o.status <> 'void' AND o.units > 0
                 AND c.day >= b.first AND c.day < b.after
                 AND o.id NOT IN (SELECT invoice_id FROM hopsmeter.stripe_put_right_now WHERE what = 'twice')))
    ORDER BY u.email, u.id, c.day, CASE WHEN c.is_beside THEN i.id END,
             i.subscription_id = u.stripe_subscription_id IS TRUE DESC, i.id) v
WHERE %(invoice)s::text IS NULL OR invoice_id = %(invoice)s ORDER BY email, account_id, day, invoice_id;

-- name: invoice_held
-- An invoice of an account with its days, and whether a report of them is under way; nobody changes it meanwhile.
SELECT i.id, i.status, i.finalized_at IS NOT NULL AS is_final, i.compared_at IS NULL AS is_pending,
       EXISTS (SELECT FROM hopsmeter.stripe_reports r
               WHERE r.account_no = i.account_no AND r.state IN ('due', 'in flight', 'unknown', 'refused')
                 AND r.day >= (i.usage_start AT TIME ZONE 'UTC')::date AND r.day < d.after) AS under_way,
       d.first,
       (SELECT max(t.day) FROM hopsmeter.stripe_days t
        WHERE t.account_no = i.account_no AND t.seq > 0
          AND t.day >= least(d.first, (i.usage_start AT TIME ZONE 'UTC')::date) AND t.day < d.after)
           AS newest_day,
       hopsmeter.stripe_open_nano(i.account_no) AS open_nano
FROM hopsmeter.stripe_invoices i JOIN hopsmeter.stripe_invoice_days d ON d.id = i.id
WHERE i.id = %(invoice)s AND i.account_no = %(account_no)s FOR UPDATE OF i;

-- name: put_right
-- A person put an invoice right in Stripe, as it is now.
INSERT INTO hopsmeter.stripe_put_right (invoice_id, what, status, units, line_minor, by, why)
SELECT id, %(what)s, status, units, line_minor, %(by)s, %(why)s
FROM hopsmeter.stripe_invoices WHERE id = %(invoice)s;

-- name: unbilled
-- Days that Stripe was told of, and that are on no final invoice though there was time enough, by account: on a
-- draft, or on none. Of the time as last fetched, so that whom nobody could ask about is not listed for that. The
-- cycles of our price are months: one that began a month before this one is over for long. What ended, or was of
-- a subscription before this one, is due again by itself.
WITH cycles AS MATERIALIZED (
    SELECT a.account_no, (a.billed_from AT TIME ZONE 'UTC')::date AS first,
           CASE WHEN a.fetched_at >= a.period_end + %(made_within)s THEN (a.period_end AT TIME ZONE 'UTC')::date
                WHEN a.fetched_at >= a.period_start + %(made_within)s
                    THEN (a.period_start AT TIME ZONE 'UTC')::date
                ELSE (a.period_start AT TIME ZONE 'UTC' - interval '1 month')::date END AS after
    FROM hopsmeter.stripe_accounts a
    WHERE a.ended_since IS NULL AND NOT a.customer_deleted
      AND (%(account_no)s::int IS NULL OR a.account_no = %(account_no)s)),
billed AS (
    SELECT account_no, range_agg(daterange(first, after)) AS days
    FROM hopsmeter.stripe_invoice_days
    WHERE first < after AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)
    GROUP BY account_no),
gaps AS MATERIALIZED (
    SELECT c.account_no,
           unnest(datemultirange(daterange(c.first, c.after)) - coalesce(b.days, datemultirange())) AS days
    FROM cycles c LEFT JOIN billed b USING (account_no)
    WHERE c.first < c.after AND %(invoice)s::text IS NULL),
waiting AS MATERIALIZED (   -- few but for the first days of a month, and then too young
    SELECT i.id, i.account_no, i.created_at, b.first, b.after,
           i.subscription_id = u.stripe_subscription_id IS TRUE AS is_own
    FROM hopsmeter.stripe_invoices i
    JOIN hopsmeter.stripe_accounts a ON a.account_no = i.account_no
                                    AND a.fetched_at >= i.created_at + %(final_within)s
    JOIN hopsmeter.users u ON u.no = i.account_no
    JOIN hopsmeter.stripe_invoice_days b ON b.id = i.id
    WHERE i.status = 'draft' AND i.finalized_at IS NULL
      AND (%(account_no)s::int IS NULL OR i.account_no = %(account_no)s)),
final AS MATERIALIZED (
    SELECT account_no, range_agg(daterange(first, after)) AS days
    FROM hopsmeter.stripe_invoice_days
    WHERE first < after AND finalized_at IS NOT NULL AND account_no IN (SELECT account_no FROM waiting)
    GROUP BY account_no),
found AS (
    SELECT d.account_no, d.day, d.units, NULL AS invoice_id, NULL::timestamptz AS drafted_at
    FROM gaps g JOIN hopsmeter.stripe_days d ON d.account_no = g.account_no AND d.units <> 0
                                            AND d.day >= lower(g.days) AND d.day < upper(g.days)
    UNION ALL
    (SELECT DISTINCT ON (d.account_no, d.day) d.account_no, d.day,
            d.units - coalesce((SELECT sum(o.beside_units) FROM hopsmeter.stripe_invoices o
                                WHERE o.account_no = d.account_no AND o.beside_day = d.day
                                  AND o.beside_units <> 0), 0)::bigint, w.id, w.created_at
     FROM waiting w
     JOIN hopsmeter.stripe_days d ON d.account_no = w.account_no AND d.units <> 0
                                 AND d.day >= w.first AND d.day < w.after
     LEFT JOIN final l ON l.account_no = w.account_no
     WHERE l.days IS NULL OR NOT l.days @> d.day
     ORDER BY d.account_no, d.day, w.is_own DESC, w.id))
SELECT u.id AS account_id, u.email, u.currency, f.invoice_id, f.drafted_at, f.day, f.units
FROM found f JOIN hopsmeter.users u ON u.no = f.account_no
WHERE f.day >= (%(since)s AT TIME ZONE 'UTC')::date AND f.day < (%(until)s AT TIME ZONE 'UTC')::date
  AND (%(invoice)s::text IS NULL OR f.invoice_id = %(invoice)s)
ORDER BY u.email, u.id, f.invoice_id NULLS FIRST, f.day;

-- name: under_way
-- Reports of these days of an account whose outcome is to come.
SELECT id FROM hopsmeter.stripe_reports
WHERE account_no = %(account_no)s AND day = ANY (%(days)s)
  AND state IN ('due', 'in flight', 'unknown', 'refused');

-- name: begun_within
-- Accounts whose own subscription lives, and has cycles that begin within a day of UTC, as last fetched. Its first
-- cycle may begin at any time, and one that is to end early ends at any.
SELECT u.id AS account_id, u.email, u.currency, u.stripe_subscription_id AS subscription_id, w.at,
       w.at::date AS day
FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.period_start <> a.billed_from AND (a.period_start AT TIME ZONE 'UTC')::time <> '00:00'
                    THEN a.period_start AT TIME ZONE 'UTC'
                WHEN a.period_end >= a.period_start + interval '28 days'
                    AND (a.period_end AT TIME ZONE 'UTC')::time <> '00:00'
                    THEN a.period_end AT TIME ZONE 'UTC' END AS at) w
WHERE a.ended_since IS NULL AND NOT a.customer_deleted AND w.at IS NOT NULL
  AND u.stripe_subscription_id IS NOT NULL
  AND a.period_start < %(until)s AND a.period_end >= %(since)s
  AND (%(account_no)s::int IS NULL OR a.account_no = %(account_no)s) AND %(invoice)s::text IS NULL
ORDER BY u.email, u.id;
