-- Stripe: what waits, what was told, and what it says itself.

-- name: due
-- What Stripe was not told of each account and reason: the days from the first to the last, and what they
-- come to. Beside days, reports whose outcome somebody has to find out. What would go by itself and is of a day to
-- come was brought there by a clock that was ahead.
WITH days AS (
    SELECT account_no, day, due_nano,
           CASE WHEN day > %(begun)s AND reason IN ('to report', 'to move') THEN 'to come' ELSE reason END
               AS reason
    FROM hopsmeter.stripe_due(%(oldest)s)
    UNION ALL
    SELECT r.account_no, r.day, (r.units - r.units_before) * r.unit_nano,
           CASE WHEN r.state = 'refused' THEN 'refused'
                WHEN r.day > %(begun)s THEN 'to come'
                WHEN r.meter = 'sum' AND r.sent_at <= %(forgotten)s
                    OR r.sent_at IS NOT NULL AND r.day < %(oldest)s THEN 'unknown'
                ELSE 'under way' END
    FROM hopsmeter.stripe_reports r WHERE r.state IN ('due', 'in flight', 'unknown', 'refused'))
SELECT u.id AS account_id, u.email, u.currency, d.reason, count(*) AS days, min(d.day) AS first_day,
       max(d.day) AS last_day, sum(d.due_nano)::bigint AS amount_nano, a.parked_why,
       coalesce(a.customer_deleted, false) AS customer_deleted
FROM days d JOIN hopsmeter.users u ON u.no = d.account_no
LEFT JOIN hopsmeter.stripe_accounts a ON a.account_no = d.account_no
WHERE (%(account_no)s::int IS NULL OR d.account_no = %(account_no)s)
  AND (%(everything)s OR d.reason NOT IN ('to report', 'to move', 'under way'))
GROUP BY u.id, u.email, u.currency, d.reason, a.parked_why, a.customer_deleted,
         CASE WHEN %(each_day)s THEN d.day END
ORDER BY u.email, u.id, first_day, d.reason;

-- name: unread
-- Days that are over with postings that were not added up for Stripe yet, since a day; of an account those that
-- moved something into its receivable. Day by day along the index of postings; none before the set-up.
WITH unread AS MATERIALIZED (
    SELECT d::date AS day, coalesce(r.posting_no, 0) AS posting_no
    FROM generate_series(greatest((SELECT min(day) FROM hopsmeter.postings), %(since)s::date)::timestamp,
                         %(today)s::date - interval '1 day', '1 day') d
    LEFT JOIN hopsmeter.stripe_days_read r ON r.day = d::date
    WHERE (SELECT max(p.no) FROM hopsmeter.postings p WHERE p.day = d::date) > coalesce(r.posting_no, 0))
SELECT count(*) FROM unread n
WHERE EXISTS (SELECT FROM hopsmeter.stripe_meters)
  AND (%(account_no)s::int IS NULL
       OR EXISTS (SELECT FROM hopsmeter.account_entries e
                  WHERE e.account_no = %(account_no)s AND e.usage_day = n.day
                    AND e.posting_no > n.posting_no AND (e.book = 2 OR e.contra = 2)));

-- name: days
-- Account by account and day: what OpenCost said it cost, what was charged, from which book it was taken, what
-- was told to Stripe, what is due, and what Stripe says it has.
WITH used AS (
    SELECT account_no, date AS day, sum(opencost_total_nano)::bigint AS cost_nano,
           sum(charge_nano)::bigint AS charge_nano
    FROM hopsmeter.usage_daily WHERE date >= %(since)s AND date < %(until)s
      AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)
    GROUP BY account_no, date),
told AS (
    SELECT account_no, day, units, at AS ended_at FROM hopsmeter.stripe_accepted
    WHERE day >= %(since)s AND day < %(until)s
      AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s))
SELECT u.id AS account_id, u.email, u.currency, k.day, coalesce(c.cost_nano, 0) AS cost_nano,
       coalesce(c.charge_nano, 0) AS charge_nano, coalesce(d.posted_nano, 0) AS receivable_nano,
       coalesce(d.moved_nano, 0) AS moved_nano, coalesce(d.due_nano, 0) AS due_nano,
       coalesce(t.units, 0) AS units, s.units AS stripe_units, s.fetched_at, t.ended_at AS accepted_at
FROM (SELECT account_no, day FROM used
      UNION SELECT account_no, day FROM hopsmeter.stripe_days
      WHERE day >= %(since)s AND day < %(until)s
        AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)) k
JOIN hopsmeter.users u ON u.no = k.account_no
LEFT JOIN used c ON c.account_no = k.account_no AND c.day = k.day
LEFT JOIN hopsmeter.stripe_days d ON d.account_no = k.account_no AND d.day = k.day
LEFT JOIN told t ON t.account_no = k.account_no AND t.day = k.day
LEFT JOIN hopsmeter.stripe_summaries s ON s.account_no = k.account_no AND s.day = k.day
ORDER BY u.email, u.id, k.day LIMIT %(limit)s;

-- name: stripe_accounts
-- Accounts at Stripe, those to be suspended first. `beside`: other subscriptions than their own that had an invoice
-- with one of our prices in the cycle that runs, or over the one before; each gets one as it begins and as a cycle
-- ends. Whether such a one still lives is kept nowhere.
SELECT u.id AS account_id, u.email, coalesce(u.currency, '') AS currency,
       coalesce(u.stripe_customer_id, '') AS customer_id,
       coalesce(u.stripe_subscription_id, '') AS subscription_id,
       coalesce(a.subscription_status, '') AS subscription_status, a.meter, a.has_card, a.standing,
       a.standing_since, a.standing_why AS why, a.parked_at, coalesce(a.parked_why, '') AS parked_why,
       (SELECT coalesce(sum(d.due_nano), 0)::bigint FROM hopsmeter.stripe_days d
        WHERE d.account_no = a.account_no
          AND d.posted_nano + d.moved_nano <> d.snapshot_nano) AS due_nano,
       (SELECT count(*) FROM hopsmeter.stripe_invoices i
        WHERE i.account_no = a.account_no AND i.attempted
          AND i.status IN ('open', 'uncollectible')
          AND i.total_minor > i.paid_minor) AS unpaid_invoices,
       a.billed_from, a.period_end, a.fetched_at,
       coalesce((SELECT string_agg(DISTINCT i.subscription_id, ', ' ORDER BY i.subscription_id)
                 FROM hopsmeter.stripe_invoices i
                 WHERE i.account_no = a.account_no AND i.subscription_id <> u.stripe_subscription_id
                   AND i.units IS NOT NULL
                   AND (i.usage_end > a.billed_from OR i.usage_start >= a.billed_from)
                   AND i.usage_end >= a.period_start AND a.ended_since IS NULL), '') AS beside
FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
WHERE coalesce(u.id = %(account)s, true)
ORDER BY array_position(ARRAY['suspend', 'warned', 'good'], a.standing), lower(u.email), u.id
LIMIT %(limit)s;

-- name: stripe_purchases
-- What was bought or is being bought, newest first.
SELECT p.id, u.id AS account_id, u.email, p.currency, p.state, p.asked_minor, p.amount_nano,
       p.refunded_nano, p.lot_expires_on AS expires_on, p.created_at, p.expires_at AS until,
       coalesce(p.session_id, '') AS session_id, p.key
FROM hopsmeter.stripe_purchases p JOIN hopsmeter.users u ON u.no = p.account_no
WHERE coalesce(u.id = %(account)s, true)
ORDER BY p.id DESC LIMIT %(limit)s;
