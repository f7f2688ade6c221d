-- What Stripe says, against what it accepted and what is counted.

-- name: differences
-- Days of which Stripe says something else than it accepted, as last fetched; a difference younger than its lag
-- may still vanish, and of a day with a report whose outcome nobody knows it is not known what Stripe should
-- have. And final invoices that bill something else than is counted for their days, but for void ones.
WITH under_way AS (
    SELECT account_no, day FROM hopsmeter.stripe_reports
    WHERE sent_at IS NOT NULL AND state IN ('due', 'in flight', 'unknown') AND day >= %(since)s),
told AS (
    SELECT account_no, day, units, at AS ended_at, identifier
    FROM hopsmeter.stripe_accepted WHERE day >= %(since)s)
SELECT u.id AS account_id, u.email, u.currency, s.day, coalesce(t.units, 0) AS ours, s.units AS theirs,
       s.fetched_at, t.identifier, NULL AS invoice_id
FROM hopsmeter.stripe_summaries s
JOIN hopsmeter.users u ON u.no = s.account_no
LEFT JOIN told t ON t.account_no = s.account_no AND t.day = s.day
WHERE s.day >= %(since)s AND s.units <> coalesce(t.units, 0)
  AND (t.ended_at IS NULL OR t.ended_at < s.fetched_at - make_interval(secs => %(lag_s)s))
  AND NOT EXISTS (SELECT FROM under_way o WHERE o.account_no = s.account_no AND o.day = s.day)
UNION ALL
SELECT u.id, u.email, u.currency, b.first, c.units, i.units, i.fetched_at, NULL, i.id
FROM hopsmeter.stripe_invoices i
JOIN hopsmeter.stripe_invoice_days b ON b.id = i.id
JOIN hopsmeter.users u ON u.no = i.account_no
CROSS JOIN LATERAL (
    SELECT coalesce(sum(d.units), 0)::bigint AS units FROM hopsmeter.stripe_days d
    WHERE d.account_no = i.account_no AND d.day >= b.first AND d.day < b.after) c
WHERE i.finalized_at IS NOT NULL AND i.compared_at IS NOT NULL AND i.units <> c.units AND i.status <> 'void'
  AND i.usage_end >= %(since)s::timestamp AT TIME ZONE 'UTC'
ORDER BY email, account_id, day LIMIT %(limit)s;

-- name: void_invoices
-- Metered invoices that are void, and whose days no other one has.
SELECT u.id AS account_id, u.email, u.currency, d.first AS day, i.id AS invoice_id, i.units
FROM hopsmeter.stripe_invoices i
JOIN hopsmeter.stripe_invoice_days d ON d.id = i.id
JOIN hopsmeter.users u ON u.no = i.account_no
WHERE i.status = 'void' AND i.units > 0 AND i.usage_end > %(since)s
  AND NOT EXISTS (
      SELECT FROM hopsmeter.stripe_invoices o JOIN hopsmeter.stripe_invoice_days b ON b.id = o.id
      WHERE o.account_no = i.account_no AND o.id <> i.id AND o.status <> 'void' AND o.units > 0
        AND b.first <= d.first AND b.after >= d.after)
ORDER BY u.email, u.id, day LIMIT %(limit)s;
