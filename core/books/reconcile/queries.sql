-- What Stripe says, against what it accepted and what is counted.

-- name: differences
-- Days of which Stripe says something else than it accepted, as last fetched; a difference younger than its lag
-- may still vanish. And final invoices that bill something else than is counted for their days.
WITH told AS (
    SELECT account_no, day, units, at AS ended_at, identifier
    FROM hopsmeter.stripe_accepted WHERE day >= %(since)s)
SELECT u.id AS account_id, u.email, u.currency, s.day, coalesce(t.units, 0) AS ours, s.units AS theirs,
       s.fetched_at, t.identifier, NULL AS invoice_id
FROM hopsmeter.stripe_summaries s
JOIN hopsmeter.users u ON u.no = s.account_no
LEFT JOIN told t ON t.account_no = s.account_no AND t.day = s.day
WHERE s.day >= %(since)s AND s.units <> coalesce(t.units, 0)
  AND (t.ended_at IS NULL OR t.ended_at < s.fetched_at - make_interval(secs => %(lag_s)s))
UNION ALL
SELECT u.id, u.email, u.currency, b.first, c.units, i.units, i.fetched_at, NULL, i.id
FROM hopsmeter.stripe_invoices i
JOIN hopsmeter.stripe_invoice_days b ON b.id = i.id
JOIN hopsmeter.users u ON u.no = i.account_no
CROSS JOIN LATERAL (
    SELECT coalesce(sum(d.units), 0)::bigint AS units FROM hopsmeter.stripe_days d
    WHERE d.account_no = i.account_no AND d.day >= b.first AND d.day < b.after) c
WHERE i.finalized_at IS NOT NULL AND i.compared_at IS NOT NULL AND i.units <> c.units
  AND i.usage_end >= %(since)s::timestamp AT TIME ZONE 'UTC'
ORDER BY email, account_id, day LIMIT %(limit)s;
