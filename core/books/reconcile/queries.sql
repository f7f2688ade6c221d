-- What Stripe says, against what it accepted and what is counted.

-- name: differences
-- Days of which Stripe says something else than it accepted, as last fetched; a difference younger than its lag
-- may still vanish, and of a day with a report whose outcome nobody knows it is not known what Stripe should
-- have. What was told to a customer that was deleted bills nothing any more but by its final invoices.
WITH under_way AS (
    SELECT account_no, day FROM hopsmeter.stripe_reports
    WHERE sent_at IS NOT NULL AND state IN ('due', 'in flight', 'unknown') AND day >= %(since)s),
told AS (
    SELECT account_no, day, units, at AS ended_at, identifier
    FROM hopsmeter.stripe_accepted WHERE day >= %(since)s)
SELECT u.id AS account_id, u.email, u.currency, s.day, coalesce(t.units, 0) AS ours, s.units AS theirs,
       s.fetched_at, t.identifier, hopsmeter.stripe_final_invoice(s.account_no, s.day) AS invoice_id
FROM hopsmeter.stripe_summaries s
JOIN hopsmeter.users u ON u.no = s.account_no
LEFT JOIN told t ON t.account_no = s.account_no AND t.day = s.day
LEFT JOIN hopsmeter.stripe_accounts a ON a.account_no = s.account_no
WHERE a.customer_deleted IS NOT TRUE AND s.day >= %(since)s AND s.units <> coalesce(t.units, 0)
  AND (t.ended_at IS NULL OR t.ended_at < s.fetched_at - make_interval(secs => %(lag_s)s))
  AND NOT EXISTS (SELECT FROM under_way o WHERE o.account_no = s.account_no AND o.day = s.day)
  AND NOT EXISTS (
      SELECT FROM hopsmeter.stripe_reports r
      WHERE r.account_no = s.account_no AND r.day = s.day AND r.sent_at IS NOT NULL AND r.state <> 'given up'
        AND split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id
        AND (r.meter = 'sum'
             OR r.seq = (SELECT max(n.seq) FROM hopsmeter.stripe_reports n
                         WHERE n.account_no = r.account_no AND n.day = r.day AND n.sent_at IS NOT NULL
                           AND n.state <> 'given up')))
ORDER BY email, account_id, day LIMIT %(limit)s;
