-- Closing a month: what stands in its way, and what is frozen.

-- name: month
-- Whether a month is closed, by whom; and from which day on the books are open.
SELECT (SELECT closed_by FROM hopsmeter.closed_months WHERE month = %(first)s),
       (SELECT closed_at FROM hopsmeter.closed_months WHERE month = %(first)s),
       hopsmeter.open_from();

-- name: is_empty
-- Whether nothing is booked in a month, and no cluster was metered in it: none has an hour of it, nor
-- should have one.
SELECT NOT EXISTS (SELECT FROM hopsmeter.ledger_entries
                   WHERE posted_on >= %(first)s AND posted_on < %(after)s)
   AND NOT EXISTS (SELECT FROM hopsmeter.collection_windows
                   WHERE hour >= (%(first)s::date)::timestamp AT TIME ZONE 'UTC'
                     AND hour < (%(after)s::date)::timestamp AT TIME ZONE 'UTC')
   AND NOT EXISTS (SELECT FROM hopsmeter.hopsworks_clusters
                   WHERE status <> 'removed'
                     AND metering_since < (%(after)s::date)::timestamp AT TIME ZONE 'UTC');

-- name: open_before
-- Months before one that are open and have entries, oldest first.
SELECT DISTINCT date_trunc('month', posted_on)::date FROM hopsmeter.ledger_entries
WHERE posted_on < %(first)s AND posted_on >= coalesce(%(open_from)s::date, '-infinity')
ORDER BY 1;

-- name: hours_in_the_way
-- Hours of the open months until the end of one that are not in the books for good, by cluster and
-- state; one without a row was never asked for. What is a gap or waived will not come any more.
SELECT c.name, coalesce(w.state, 'missing') AS state, count(*), min(h.hour), max(h.hour)
FROM hopsmeter.hopsworks_clusters c
CROSS JOIN LATERAL generate_series(
    greatest(c.metering_since, coalesce(%(open_from)s::date, '-infinity')::timestamp
             AT TIME ZONE 'UTC'),
    least(%(newest)s, (%(after)s::date)::timestamp AT TIME ZONE 'UTC' - interval '1 hour'),
    interval '1 hour') AS h (hour)
LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = h.hour
WHERE coalesce(w.state, 'missing') NOT IN ('settled', 'gap', 'waived')
  AND (w.hour IS NOT NULL OR c.status <> 'removed')
GROUP BY 1, 2 ORDER BY 1, 4;

-- name: unposted_hours
-- Stored hours of the open months until the end of one that wait to be posted.
SELECT count(*), min(hour) FROM hopsmeter.collection_windows
WHERE stored_no <> posted_no AND hour < (%(after)s::date)::timestamp AT TIME ZONE 'UTC'
  AND hour >= coalesce(%(open_from)s::date, '-infinity')::timestamp AT TIME ZONE 'UTC';

-- name: lots_unexpired
-- Lots whose date is past in the month, and whose expiry is not posted.
SELECT l.id, u.id, l.expires_on FROM hopsmeter.credit_lots l
JOIN hopsmeter.users u ON u.no = l.account_no
WHERE l.expired_at IS NULL AND l.remaining_nano > 0 AND l.expires_on < %(after)s
ORDER BY l.expires_on, l.id;

-- name: accounts
-- Accounts with entries in a month, or with anything in their books before or after it.
SELECT account_no FROM (
    SELECT account_no, book, amount_nano, posted_on FROM hopsmeter.ledger_entries
    WHERE posted_on < %(after)s
    UNION ALL
    SELECT account_no, contra, -amount_nano, posted_on FROM hopsmeter.ledger_entries
    WHERE posted_on < %(after)s AND contra <= 3) m
GROUP BY account_no, book
HAVING bool_or(posted_on >= %(first)s) OR sum(amount_nano) <> 0
UNION SELECT account_no FROM hopsmeter.usage_daily
WHERE date >= %(first)s AND date < %(after)s
ORDER BY 1;

-- name: accounts_of_closed
-- The same of a month that is closed: what somebody is found to have used in it since then is entered
-- later, and told by the statement of that month.
SELECT account_no FROM (
    SELECT account_no, book, amount_nano, posted_on FROM hopsmeter.ledger_entries
    WHERE posted_on < %(after)s
    UNION ALL
    SELECT account_no, contra, -amount_nano, posted_on FROM hopsmeter.ledger_entries
    WHERE posted_on < %(after)s AND contra <= 3) m
GROUP BY account_no, book
HAVING bool_or(posted_on >= %(first)s) OR sum(amount_nano) <> 0
ORDER BY 1;

-- name: close
-- From now on nothing is posted in the month. Stamped after the locks: what was posted before has an
-- earlier time, and what comes after a later one.
INSERT INTO hopsmeter.closed_months (month, closed_at, closed_by, why)
VALUES (%(first)s, clock_timestamp(), %(by)s, %(why)s);

-- name: freeze
-- One account's figures of the month.
INSERT INTO hopsmeter.statements (account_no, month, body, sha256)
VALUES (%(account_no)s, %(first)s, %(body)s, %(sha256)s);

-- name: months
-- Every month with entries or hours, newest first: its entries, accounts, and whether it is closed.
WITH months AS (
    SELECT date_trunc('month', posted_on)::date AS month, count(*) AS entries,
           count(DISTINCT account_no) AS accounts
    FROM hopsmeter.ledger_entries GROUP BY 1),
metered AS (
    SELECT m::date AS month FROM generate_series(
        (SELECT date_trunc('month', min(metering_since), 'UTC') AT TIME ZONE 'UTC'
         FROM hopsmeter.hopsworks_clusters),
        date_trunc('month', %(today)s::date), interval '1 month') m)
SELECT month, coalesce(m.entries, 0) AS entries, coalesce(m.accounts, 0) AS accounts,
       c.closed_at, c.closed_by, coalesce(c.why, '') AS why,
       (SELECT count(*) FROM hopsmeter.statements s WHERE s.month = c.month) AS statements,
       coalesce(month < hopsmeter.open_from(), false) AS is_closed
FROM months m FULL JOIN metered USING (month) FULL JOIN hopsmeter.closed_months c USING (month)
ORDER BY month DESC;

-- name: closings
-- Months that are closed, or that the trail says were: with the hash over their statements.
WITH told AS (
    SELECT (after ->> 'month') AS month, after ->> 'sha256' AS sha256 FROM hopsmeter.audit_log
    WHERE action = 'books.close'),
months AS (
    SELECT coalesce(m.month, (t.month || '-01')::date) AS month, t.sha256,
           t.month IS NOT NULL AS is_told, m.month IS NOT NULL AS is_closed
    FROM hopsmeter.closed_months m FULL JOIN told t ON t.month = to_char(m.month, 'YYYY-MM'))
SELECT month, sha256, is_told, is_closed FROM months
WHERE month >= %(since)s AND month < %(until)s ORDER BY month;

-- name: statements
-- The frozen statements of a month, in the order of their accounts.
SELECT s.account_no, coalesce(u.id, 'account ' || s.account_no), s.body, s.sha256
FROM hopsmeter.statements s LEFT JOIN hopsmeter.users u ON u.no = s.account_no
WHERE s.month = %(first)s ORDER BY s.account_no;

-- name: plan_for_all
-- Of all accounts together the entries are read as they lie: by the account's index each would be looked
-- up by itself, a month of half a million in 45 s instead of 2.
SELECT set_config('enable_indexscan', 'off', true);

-- name: plan_as_usual
-- What else is asked is planned as always.
SELECT set_config('enable_indexscan', 'on', true);

-- name: untold
-- Account-days of a month that Stripe was not told and nobody settled, by the reason: due, or with a report
-- whose outcome is not known or that was refused; and days of which postings were not read for it yet. Of
-- accounts that are linked.
WITH waiting AS (
    SELECT d.reason, d.day, coalesce(u.id, 'account ' || d.account_no) || ' ' || d.day AS name
    FROM hopsmeter.stripe_due(%(oldest)s) d LEFT JOIN hopsmeter.users u ON u.no = d.account_no
    WHERE d.day >= %(first)s AND d.day < %(after)s AND d.reason <> 'not linked'
    UNION ALL
    SELECT CASE r.state WHEN 'refused' THEN 'refused' ELSE 'under way' END, r.day,
           coalesce(u.id, 'account ' || r.account_no) || ' ' || r.day
    FROM hopsmeter.stripe_reports r LEFT JOIN hopsmeter.users u ON u.no = r.account_no
    WHERE r.state IN ('due', 'in flight', 'unknown', 'refused')
      AND r.day >= %(first)s AND r.day < %(after)s
    UNION ALL
    SELECT 'unread', p.day, p.day::text
    FROM (SELECT day, max(no) AS no FROM hopsmeter.postings
          WHERE day >= %(first)s AND day < %(after)s GROUP BY day) p
    LEFT JOIN hopsmeter.stripe_days_read r ON r.day = p.day
    WHERE p.no > coalesce(r.posting_no, 0))
SELECT reason, count(*)::int AS days, (array_agg(name ORDER BY day, name))[1:%(named)s] AS named
FROM waiting WHERE EXISTS (SELECT FROM hopsmeter.stripe_site)
GROUP BY reason ORDER BY min(day), reason;

-- name: unlinked
-- Accounts that owe something of a month, and are not linked to Stripe.
SELECT u.id AS account, u.email, coalesce(u.currency, '') AS currency, count(*)::int AS days,
       sum(d.due_nano)::bigint AS due_nano
FROM hopsmeter.stripe_due(%(oldest)s) d JOIN hopsmeter.users u ON u.no = d.account_no
WHERE d.reason = 'not linked' AND d.day >= %(first)s AND d.day < %(after)s
  AND EXISTS (SELECT FROM hopsmeter.stripe_site)
GROUP BY u.no, u.id, u.email, u.currency ORDER BY due_nano DESC, u.no;
