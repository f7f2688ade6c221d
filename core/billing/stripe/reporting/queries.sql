-- Reporting: what the ledger moved into receivables, what of it Stripe was told, and what it is told next.

-- name: read_days
-- Adds up, of the days that were posted since they were read (some, oldest first), what the ledger moved into
-- each account's receivable; and of the days on which something was moved there by hand, always. One
-- statement, so that the postings that are marked as read are those that were added up.
WITH newest AS (
    SELECT day, max(no) AS no FROM hopsmeter.postings GROUP BY day),
changed AS MATERIALIZED (
    SELECT n.day, n.no FROM newest n LEFT JOIN hopsmeter.stripe_days_read r ON r.day = n.day
    WHERE n.no > coalesce(r.posting_no, 0) ORDER BY n.day LIMIT %(limit)s),
charged AS (
    SELECT e.account_no, e.usage_day AS day,
           sum(CASE WHEN e.book = 2 THEN -e.amount_nano ELSE e.amount_nano END)::bigint AS nano
    FROM hopsmeter.ledger_entries e
    WHERE e.usage_day = ANY (ARRAY(SELECT day FROM changed)) AND e.posting_no IS NOT NULL
      AND (e.book = 2 OR e.contra = 2)
    GROUP BY e.account_no, e.usage_day),
by_hand AS (
    SELECT account_no, posted_on AS day, sum(amount_nano)::bigint AS nano
    FROM hopsmeter.ledger_entries WHERE posting_no IS NULL AND contra = 2
    GROUP BY account_no, posted_on),
-- A day moved to by hand is whole only with its charges, read or not.
beside AS (
    SELECT h.account_no, h.day,
           coalesce((SELECT sum(CASE WHEN e.book = 2 THEN -e.amount_nano ELSE e.amount_nano END)
                     FROM hopsmeter.ledger_entries e
                     WHERE e.account_no = h.account_no AND e.usage_day = h.day
                       AND e.posting_no IS NOT NULL AND (e.book = 2 OR e.contra = 2)), 0)::bigint
               + h.nano AS nano
    FROM by_hand h),
totals AS (
    SELECT * FROM beside
    UNION ALL
    SELECT * FROM charged c
    WHERE NOT EXISTS (SELECT FROM by_hand h WHERE h.account_no = c.account_no AND h.day = c.day)),
kept AS (
    INSERT INTO hopsmeter.stripe_days AS d (account_no, day, posted_nano)
    SELECT account_no, day, nano FROM totals ORDER BY account_no, day
    ON CONFLICT (account_no, day) DO UPDATE SET posted_nano = excluded.posted_nano
    WHERE d.posted_nano <> excluded.posted_nano
    RETURNING 1),
marked AS (
    INSERT INTO hopsmeter.stripe_days_read (day, posting_no) SELECT day, no FROM changed
    ON CONFLICT (day) DO UPDATE SET posting_no = excluded.posting_no)
SELECT (SELECT count(*) FROM changed), (SELECT count(*) FROM kept);

-- name: make_reports
-- Of each account that may be reported, and has nothing under way, the report of its oldest day that is owed:
-- written down, and with it what is thereby reported of the day, before anything is sent. Of one whose subscription
-- ended, and of days before another, those that a draft of it still takes.
WITH able AS MATERIALIZED (
    SELECT a.account_no, a.meter, a.remainder_nano, u.stripe_customer_id AS customer,
           (a.billed_from AT TIME ZONE 'UTC')::date AS since, a.billed_from, a.fetched_at,
           a.ended_since IS NOT NULL AS has_ended
    FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
    WHERE a.parked_at IS NULL AND NOT a.customer_deleted
      AND a.billed_from IS NOT NULL AND u.stripe_customer_id IS NOT NULL
      AND u.stripe_subscription_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r WHERE r.account_no = a.account_no
                      AND r.state IN ('due', 'in flight', 'unknown', 'refused'))),
chosen AS (
    SELECT DISTINCT ON (d.account_no) d.*, a.meter, a.customer,
           coalesce(l.usage_start, a.billed_from) AS billed_from, d.due_nano + a.remainder_nano AS rest
    FROM hopsmeter.stripe_days d JOIN able a ON a.account_no = d.account_no
    LEFT JOIN LATERAL (
        SELECT min(usage_start) AS usage_start FROM hopsmeter.stripe_left_drafts
        WHERE (a.has_ended OR d.day < a.since)
          AND account_no = d.account_no AND d.day >= first AND d.day < after) l ON true
    WHERE d.posted_nano + d.moved_nano <> d.snapshot_nano
      AND d.day BETWEEN %(oldest)s::date
                    AND CASE a.meter WHEN 'daily' THEN %(today)s::date ELSE %(today)s::date - 1 END
      AND (l.usage_start IS NOT NULL OR NOT a.has_ended AND d.day >= a.since)
      AND hopsmeter.stripe_final_invoice(d.account_no, d.day) IS NULL
      -- Told to a subscription before this one: until its last invoice is known, and once it has the day.
      AND NOT (d.day = a.since
               AND (a.fetched_at IS NULL OR a.fetched_at <= a.billed_from + %(ended_for)s)
               AND EXISTS (SELECT FROM hopsmeter.stripe_reports r
                           WHERE r.account_no = d.account_no AND r.day = d.day AND r.sent_at IS NOT NULL
                             AND r.event_at < a.billed_from))
      AND NOT (d.day = a.since
               AND EXISTS (SELECT FROM hopsmeter.stripe_invoice_days i
                           WHERE i.account_no = d.account_no AND i.usage_end <= a.billed_from
                             AND d.day >= i.first AND d.day < i.after))
    ORDER BY d.account_no, d.day),
stepped AS (   -- divided towards minus infinity
    SELECT *, rest - ((rest %% %(unit)s + %(unit)s) %% %(unit)s) AS whole FROM chosen),
made AS (
    INSERT INTO hopsmeter.stripe_reports
        (account_no, day, seq, meter, snapshot_nano, units, units_before, remainder_nano, unit_nano,
         identifier, event_at, state, ended_at, made_at, next_try_at)
    SELECT account_no, day, seq + 1, meter, posted_nano + moved_nano, units + whole / %(unit)s, units,
           rest - whole, %(unit)s,
           concat_ws(':', customer, day, seq + 1, units + whole / %(unit)s),
           greatest(least((day + 1)::timestamp AT TIME ZONE 'UTC' - interval '1 second', %(now)s),
                    billed_from),
           -- Less than a unit is nothing that could be told.
           CASE WHEN whole = 0 THEN 'accepted' ELSE 'due' END,
           CASE WHEN whole = 0 THEN %(now)s::timestamptz END, %(now)s, %(now)s
    FROM stepped ORDER BY account_no
    RETURNING account_no, day, seq, snapshot_nano, units, remainder_nano),
counted AS (
    UPDATE hopsmeter.stripe_days d
    SET snapshot_nano = m.snapshot_nano, units = m.units, seq = m.seq
    FROM made m WHERE d.account_no = m.account_no AND d.day = m.day),
carried AS (
    UPDATE hopsmeter.stripe_accounts a SET remainder_nano = m.remainder_nano
    FROM made m WHERE a.account_no = m.account_no)
SELECT count(*) FROM made;

-- name: claim_reports
-- Takes reports to be sent: those that are due, and those whose sender was lost, whose outcome nobody knows.
-- Of the sum meter one that is unknown for too long is left: Stripe may have forgotten that it had it. And of
-- either one that is older than what Stripe takes: the refusal would not say whether it had it. And one whose
-- customer was deleted: Stripe says yes, and counts it for nobody. No request is
-- later than `next_try_at` and a lease: from a try on that is when it began, after one what its pause ends with.
WITH found AS (
    SELECT r.id FROM hopsmeter.stripe_reports r
    JOIN hopsmeter.stripe_accounts a ON a.account_no = r.account_no AND a.parked_at IS NULL
    JOIN hopsmeter.users u ON u.no = r.account_no
    WHERE r.state IN ('due', 'in flight', 'unknown') AND r.next_try_at <= %(now)s
      AND NOT a.customer_deleted AND split_part(r.identifier, ':', 1) = u.stripe_customer_id
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
      AND (r.meter = 'daily' OR r.sent_at IS NULL OR r.sent_at > %(forgotten)s)
      AND r.day >= %(oldest)s
    ORDER BY r.next_try_at, r.id LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED)
UPDATE hopsmeter.stripe_reports r
SET state = 'in flight', sent_at = coalesce(r.sent_at, %(now)s), tries = r.tries + 1, next_try_at = %(now)s,
    lease_token = %(token)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM found, hopsmeter.users u, hopsmeter.stripe_meters m
WHERE r.id = found.id AND u.no = r.account_no AND m.kind = r.meter
RETURNING r.id, r.account_no, u.stripe_customer_id AS customer, m.event_name, r.identifier, r.event_at,
          coalesce(r.value, CASE r.meter WHEN 'daily' THEN r.units ELSE r.units - r.units_before END)
              AS value,
          r.tries, r.meter, r.lease_token AS token;

-- name: never_arrived
-- Reports that Stripe surely does not have, and takes no more: nobody ever began to send them, and their day is too
-- old or their customer was deleted; and of such a customer what was refused at the first. Another customer takes
-- the place only of one that was deleted.
SELECT r.id
FROM hopsmeter.stripe_reports r
JOIN hopsmeter.stripe_accounts a ON a.account_no = r.account_no
JOIN hopsmeter.users u ON u.no = r.account_no
CROSS JOIN LATERAL (
    SELECT a.customer_deleted OR split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id
           AS is_gone) g
WHERE r.state IN ('due', 'refused')
  AND (r.state = 'due' AND r.sent_at IS NULL AND (g.is_gone OR r.day < %(oldest)s)
       OR r.state = 'refused' AND r.tries <= 1 AND g.is_gone)
ORDER BY r.id LIMIT %(limit)s;

-- name: refused_reports
-- What Stripe refused of an account, or of one of its days, and whether a try before that may have arrived.
SELECT id, day, tries > 1 AS was_tried FROM hopsmeter.stripe_reports
WHERE state = 'refused' AND account_no = %(account_no)s AND day = coalesce(%(day)s::date, day);

-- name: give_up
-- Reports that Stripe does not have: what they counted is due again. Of one account nothing else was told
-- since, so what is carried is what was carried before. What it would have told stands in its identifier.
WITH ours AS MATERIALIZED (
    SELECT r.id, r.account_no, r.day, r.units_before,
           coalesce((SELECT p.snapshot_nano FROM hopsmeter.stripe_reports p
                     WHERE p.account_no = r.account_no AND p.day = r.day AND p.seq < r.seq
                     ORDER BY p.seq DESC LIMIT 1), 0) AS snapshot_nano,
           coalesce((SELECT p.remainder_nano FROM hopsmeter.stripe_reports p
                     WHERE p.account_no = r.account_no AND p.state <> 'settled' AND p.id < r.id
                     ORDER BY p.id DESC LIMIT 1), 0) AS remainder_nano
    FROM hopsmeter.stripe_reports r
    WHERE r.id = ANY (%(ids)s::bigint[]) AND r.state IN ('due', 'in flight', 'unknown', 'refused')
      AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
    FOR UPDATE),
uncounted AS (
    UPDATE hopsmeter.stripe_days d SET snapshot_nano = o.snapshot_nano, units = o.units_before
    FROM ours o WHERE d.account_no = o.account_no AND d.day = o.day),
carried AS (
    UPDATE hopsmeter.stripe_accounts a SET remainder_nano = o.remainder_nano
    FROM ours o WHERE a.account_no = o.account_no)
UPDATE hopsmeter.stripe_reports r
SET state = 'given up', units = o.units_before, snapshot_nano = o.snapshot_nano,
    remainder_nano = o.remainder_nano, ended_at = %(now)s, lease_token = NULL, lease_until = NULL
FROM ours o WHERE r.id = o.id;

-- name: accept_reports
-- Stripe has these: their balances are locked in order, what was told stands against the receivable, and what
-- the daily meter thereby forgot is marked.
WITH ours AS MATERIALIZED (
    SELECT r.* FROM hopsmeter.stripe_reports r
    WHERE r.id = ANY (%(ids)s::bigint[]) AND r.lease_token = %(token)s AND r.state = 'in flight'),
held AS MATERIALIZED (
    SELECT b.account_no FROM hopsmeter.ledger_balances b
    WHERE b.book = 2 AND b.account_no IN (SELECT account_no FROM ours)
    ORDER BY b.account_no FOR UPDATE),
entered AS (
    INSERT INTO hopsmeter.ledger_entries
        (account_no, book, contra, amount_nano, posted_on, ref, memo)
    SELECT o.account_no, 2, 16, (o.units - o.units_before) * o.unit_nano, %(posted_on)s,
           'stripe ' || o.identifier, 'reported for ' || o.day
    FROM ours o JOIN held h ON h.account_no = o.account_no
    WHERE o.units <> o.units_before
    ORDER BY o.account_no
    RETURNING id, account_no, amount_nano, ref),
booked AS (
    UPDATE hopsmeter.ledger_balances b SET balance_nano = b.balance_nano + e.amount_nano
    FROM entered e WHERE b.account_no = e.account_no AND b.book = 2),
forgotten AS (
    UPDATE hopsmeter.stripe_reports r SET state = 'superseded'
    FROM ours o WHERE o.meter = 'daily' AND r.account_no = o.account_no AND r.day = o.day
      AND r.seq < o.seq AND r.state = 'accepted')
UPDATE hopsmeter.stripe_reports r
SET state = 'accepted', ended_at = %(now)s, entry_id = e.id, error = NULL,
    lease_token = NULL, lease_until = NULL
FROM ours o LEFT JOIN entered e ON e.account_no = o.account_no AND e.ref = 'stripe ' || o.identifier
WHERE r.id = o.id;

-- name: again_reports
-- To be sent again after a pause: nobody knows whether Stripe has them, or it has surely not.
UPDATE hopsmeter.stripe_reports r
SET state = k.state, error = k.error, next_try_at = %(now)s::timestamptz + make_interval(secs => k.pause_s),
    lease_token = NULL, lease_until = NULL
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(errors)s::text[], %(pauses)s::float8[])
    AS k (id, state, error, pause_s)
WHERE r.id = k.id AND r.lease_token = %(token)s AND r.state = 'in flight';

-- name: refuse_report
-- Stripe will not have it: the account is parked until somebody has looked. Tries of one run count as one, but
-- where one before the refusal was not heard of, and may have arrived.
WITH refused AS (
    UPDATE hopsmeter.stripe_reports
    SET state = 'refused', error = %(error)s, next_try_at = %(now)s, lease_token = NULL, lease_until = NULL,
        tries = tries + CASE WHEN %(unheard)s THEN 1 ELSE 0 END
    WHERE id = %(id)s AND lease_token = %(token)s AND state = 'in flight'
    RETURNING account_no)
UPDATE hopsmeter.stripe_accounts a SET parked_at = %(now)s, parked_why = %(error)s
FROM refused WHERE a.account_no = refused.account_no;

-- name: final_due
-- Owed days that are on a final invoice, with what their account's open cycle comes to; those with a report
-- under way wait for its outcome.
SELECT d.account_no, d.day, d.due_nano, t.posted_nano, t.seq,
       hopsmeter.stripe_final_invoice(d.account_no, d.day) AS invoice_id,
       hopsmeter.stripe_open_nano(d.account_no) AS open_nano
FROM hopsmeter.stripe_due(%(oldest)s) d
JOIN hopsmeter.stripe_days t ON t.account_no = d.account_no AND t.day = d.day
WHERE d.reason IN ('to move', 'below zero') AND d.day < %(today)s
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r
                  WHERE r.account_no = d.account_no AND r.day = d.day
                    AND r.state IN ('due', 'in flight', 'unknown', 'refused'))
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_invoices i
                  WHERE i.id = hopsmeter.stripe_final_invoice(d.account_no, d.day)
                    AND i.compared_at IS NULL)
ORDER BY d.account_no, d.due_nano < 0, d.day LIMIT %(limit)s;

-- name: move
-- Takes an amount from one day to another; again under the same reference does nothing.
WITH moved AS (
    INSERT INTO hopsmeter.stripe_moves
        (account_no, from_day, to_day, amount_nano, kind, ref, invoice_id, by, why)
    VALUES (%(account_no)s, %(from_day)s, %(to_day)s, %(amount_nano)s, %(kind)s, %(ref)s,
            %(invoice_id)s, %(by)s, %(why)s)
    ON CONFLICT (account_no, ref) DO NOTHING
    RETURNING account_no, from_day, to_day, amount_nano)
INSERT INTO hopsmeter.stripe_days AS d (account_no, day, moved_nano)
SELECT account_no, from_day, -amount_nano FROM moved
UNION ALL
SELECT account_no, to_day, amount_nano FROM moved
ON CONFLICT (account_no, day) DO UPDATE SET moved_nano = d.moved_nano + excluded.moved_nano;

-- name: to_compare
-- Final invoices whose quantity was not yet held against what was accepted for their days; those with a report
-- under way wait for its outcome. `since`: the day on which it begins to bill, though another may have it.
SELECT i.id, i.account_no, i.units, i.first, i.after, i.usage_start, i.usage_end, s.since
FROM hopsmeter.stripe_invoice_days i
CROSS JOIN LATERAL (
    SELECT least(i.first, (i.usage_start AT TIME ZONE 'UTC')::date) AS since) s
WHERE i.finalized_at IS NOT NULL AND i.compared_at IS NULL
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r
                  WHERE r.account_no = i.account_no AND r.state IN ('due', 'in flight', 'unknown', 'refused')
                    AND r.day >= s.since AND r.day < i.after)
ORDER BY i.account_no, i.usage_start LIMIT %(limit)s;

-- name: told_of_days
-- What Stripe has of an invoice's days, the oldest report first: of one account they went one after the other.
-- `within`: for an instant that the invoice bills. What a person saw was once written down for when he saw it.
SELECT day, meter, value,
       CASE WHEN is_again AND event_at >= (day + 1)::timestamp AT TIME ZONE 'UTC' THEN day >= %(first)s
            ELSE event_at >= %(usage_start)s AND event_at < %(usage_end)s END AS within
FROM hopsmeter.stripe_counted
WHERE account_no = %(account_no)s AND day >= %(since)s AND day < %(after)s
ORDER BY id;

-- name: units_of_days
-- What counts as told of them, as far as the invoice is to bill it.
SELECT day, units FROM hopsmeter.stripe_billed_days WHERE invoice_id = %(id)s AND units <> 0;

-- name: count_beside
-- What an invoice bills of a day that another has is counted with the day, and billed beside its invoice.
UPDATE hopsmeter.stripe_invoices
SET beside_units = beside_units + %(units)s,
    beside_day = CASE WHEN beside_units + %(units)s <> 0 THEN %(day)s::date END
WHERE id = %(id)s;

-- name: newest_reports
-- The newest report of each of these days.
SELECT DISTINCT ON (r.day) r.day, r.seq, r.meter, r.unit_nano, r.remainder_nano, r.entry_id
FROM hopsmeter.stripe_reports r
WHERE r.account_no = %(account_no)s AND r.day = ANY (%(days)s) ORDER BY r.day, r.seq DESC;

-- name: take_back
-- Units of a day that came too late for its invoice count as unreported again: a report that is not sent says
-- so, and the entry of their acceptance is taken back. `value`: what is written down as what Stripe has for it.
WITH entered AS (
    INSERT INTO hopsmeter.ledger_entries
        (account_no, book, contra, amount_nano, posted_on, ref, memo, reverses)
    SELECT %(account_no)s, 2, 16, -(%(late)s::bigint * %(unit)s), %(posted_on)s, %(ref)s,
           %(memo)s, %(reverses)s
    WHERE %(late)s::bigint <> 0
    RETURNING id),
booked AS (
    UPDATE hopsmeter.ledger_balances
    SET balance_nano = balance_nano - %(late)s::bigint * %(unit)s
    WHERE account_no = %(account_no)s AND book = 2),
made AS (
    INSERT INTO hopsmeter.stripe_reports
        (account_no, day, seq, meter, snapshot_nano, units, units_before, remainder_nano, unit_nano,
         identifier, event_at, state, made_at, ended_at, value, entry_id)
    SELECT account_no, day, seq + 1, %(meter)s, snapshot_nano - %(late)s::bigint * %(unit)s,
           units - %(late)s, units, %(remainder)s, %(unit)s, %(ref)s, %(event_at)s, 'settled', %(now)s, %(now)s,
           %(value)s, (SELECT id FROM entered)
    FROM hopsmeter.stripe_days WHERE account_no = %(account_no)s AND day = %(day)s
    RETURNING account_no, day, seq, snapshot_nano, units)
UPDATE hopsmeter.stripe_days d SET snapshot_nano = m.snapshot_nano, units = m.units, seq = m.seq
FROM made m WHERE d.account_no = m.account_no AND d.day = m.day;

-- name: never_invoiced
-- Days told to a subscription that has ended, or was followed by another, and that are on no invoice, draft or
-- final; not before its last one can be known, nor while a report of the account is under way. Of the day on
-- which the other began within it, what the other will not bill; once that is final, the day was compared with it.
SELECT d.account_no, d.day, d.units - t.others
FROM hopsmeter.stripe_days d
JOIN hopsmeter.stripe_accounts a ON a.account_no = d.account_no
CROSS JOIN LATERAL (
    SELECT CASE WHEN a.ended_since IS NULL AND d.day = (a.billed_from AT TIME ZONE 'UTC')::date
                THEN CASE WHEN hopsmeter.stripe_final_invoice(d.account_no, d.day) IS NOT NULL THEN d.units
                          ELSE hopsmeter.stripe_value_since(a.account_no, d.day, a.billed_from) END
                ELSE 0 END AS others) t
WHERE d.units <> 0 AND a.billed_from IS NOT NULL AND d.units <> t.others
  AND a.fetched_at > coalesce(a.ended_since, a.billed_from) + %(ended_for)s
  AND (a.ended_since IS NOT NULL OR d.day <= (a.billed_from AT TIME ZONE 'UTC')::date)
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r
                  WHERE r.account_no = d.account_no
                    AND r.state IN ('due', 'in flight', 'unknown', 'refused'))
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_invoices i
                  WHERE i.account_no = d.account_no AND i.units IS NOT NULL
                    AND i.usage_start < i.usage_end   -- the first one bills a moment, and nothing
                    AND (a.ended_since IS NOT NULL OR i.usage_start < a.billed_from)
                    AND i.usage_start < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
                    AND i.usage_end > d.day::timestamp AT TIME ZONE 'UTC')
ORDER BY d.account_no, d.day LIMIT %(limit)s;

-- name: lower
-- Of a day that is on the last invoice of the subscription before, what Stripe has for the one after, which would
-- bill it again: taken off by an event of its own, for the instant of what it takes off. Stripe was told it while
-- nobody knew that one had ended and another begun.
WITH found AS (
    SELECT d.account_no, d.day, d.seq, d.snapshot_nano, d.units, a.meter, a.remainder_nano,
           u.stripe_customer_id AS customer, a.billed_from,
           hopsmeter.stripe_value_since(d.account_no, d.day, a.billed_from) AS others
    FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
    JOIN hopsmeter.stripe_days d ON d.account_no = a.account_no
                                AND d.day = (a.billed_from AT TIME ZONE 'UTC')::date
    WHERE a.parked_at IS NULL AND NOT a.customer_deleted AND a.ended_since IS NULL
      AND u.stripe_subscription_id IS NOT NULL AND d.day >= %(oldest)s
      AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r WHERE r.account_no = a.account_no
                      AND r.state IN ('due', 'in flight', 'unknown', 'refused'))
      AND EXISTS (SELECT FROM hopsmeter.stripe_invoice_days i
                  WHERE i.account_no = d.account_no AND i.usage_end <= a.billed_from
                    AND d.day >= i.first AND d.day < i.after)
      -- Once its own invoice is final nothing helps any more: what that bills of the day is counted beside it.
      AND NOT EXISTS (SELECT FROM hopsmeter.stripe_invoices i
                      WHERE i.account_no = d.account_no AND i.finalized_at IS NOT NULL
                        AND i.units IS NOT NULL AND i.usage_start >= a.billed_from
                        AND i.usage_start < i.usage_end)),
made AS (
    INSERT INTO hopsmeter.stripe_reports
        (account_no, day, seq, meter, snapshot_nano, units, units_before, remainder_nano, unit_nano,
         identifier, event_at, made_at, next_try_at, value)
    SELECT f.account_no, f.day, f.seq + 1, f.meter, f.snapshot_nano, f.units, f.units, f.remainder_nano,
           %(unit)s, concat_ws(':', f.customer, f.day, f.seq + 1, 'off'),
           (SELECT max(c.event_at) FROM hopsmeter.stripe_counted c
            WHERE c.account_no = f.account_no AND c.day = f.day AND NOT c.is_again),
           %(now)s, %(now)s, CASE f.meter WHEN 'daily' THEN 0 ELSE -f.others END
    FROM found f WHERE f.others <> 0
    RETURNING account_no, day, seq),
counted AS (
    UPDATE hopsmeter.stripe_days d SET seq = m.seq
    FROM made m WHERE d.account_no = m.account_no AND d.day = m.day)
SELECT count(*) FROM made;

-- name: compared
UPDATE hopsmeter.stripe_invoices SET compared_at = %(now)s WHERE id = %(id)s;

-- name: settle
-- A person settles what is due of a day outside of Stripe: it stands against the receivable.
WITH entered AS (
    SELECT hopsmeter.write_entry(%(account_no)s, 2::smallint, 17::smallint, %(amount_nano)s,
                                 %(posted_on)s, NULL, NULL, %(ref)s, %(why)s, NULL) AS id),
moved AS (
    INSERT INTO hopsmeter.stripe_moves
        (account_no, from_day, amount_nano, kind, ref, invoice_id, entry_id, by, why)
    SELECT %(account_no)s, %(day)s, %(amount_nano)s, 'settled', %(ref)s, %(invoice_id)s, id, %(by)s, %(why)s
    FROM entered
    RETURNING account_no, from_day, amount_nano)
UPDATE hopsmeter.stripe_days d SET moved_nano = d.moved_nano - m.amount_nano
FROM moved m WHERE d.account_no = m.account_no AND d.day = m.from_day;

-- name: due_day
-- What is due of an account's day, and whether something of the account is under way.
SELECT d.due_nano,
       EXISTS (SELECT FROM hopsmeter.stripe_reports r
               WHERE r.account_no = d.account_no AND r.day = d.day
                 AND r.state IN ('due', 'in flight', 'unknown')) AS under_way,
       d.posted_nano, d.seq
FROM hopsmeter.stripe_days d
WHERE d.account_no = %(account_no)s AND d.day = %(day)s FOR UPDATE;

-- name: due_days
-- The days of an account that are for a person to decide, oldest first.
SELECT day, due_nano, reason FROM hopsmeter.stripe_due(%(oldest)s)
WHERE account_no = %(account_no)s AND reason NOT IN ('to report', 'to move')
ORDER BY day LIMIT %(limit)s;

-- name: goes_by_itself
-- Whether what is due of an account's day is told, or brought to the open day, by the next run.
SELECT FROM hopsmeter.stripe_due(%(oldest)s)
WHERE account_no = %(account_no)s AND day = %(day)s AND reason IN ('to report', 'to move');

-- name: is_billed
-- Whether an account has a subscription that lives.
SELECT FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
WHERE a.account_no = %(account_no)s AND a.billed_from IS NOT NULL AND a.ended_since IS NULL
  AND NOT a.customer_deleted AND u.stripe_subscription_id IS NOT NULL;

-- name: forgotten
-- Reports whose outcome is unknown for so long that Stripe may not know their identifier any more (of sum
-- meters), or takes no event of their day or their customer, and such as it refused after a try that may have arrived; with
-- what was counted of the day, by the report's own customer, without them, and would be with them. None before its sums
-- have what the last try brought.
SELECT r.id, r.account_no, r.day,
       CASE r.meter WHEN 'daily' THEN coalesce(r.value, r.units)
                    ELSE s.units_before + coalesce(r.value, r.units - r.units_before) END AS units,
       s.units_before, split_part(r.identifier, ':', 1) AS customer, m.meter_id, r.tries,
       g.is_gone OR r.day < %(oldest)s AS is_over, g.is_gone, r.state = 'refused' AS is_refused
FROM hopsmeter.stripe_reports r
JOIN hopsmeter.stripe_accounts a ON a.account_no = r.account_no
JOIN hopsmeter.users u ON u.no = r.account_no
CROSS JOIN LATERAL (
    SELECT a.customer_deleted OR split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id
           AS is_gone) g
CROSS JOIN LATERAL (
    SELECT coalesce(CASE r.meter WHEN 'daily' THEN (array_agg(c.value ORDER BY c.seq DESC))[1]
                                 ELSE sum(c.value) END, 0)::bigint AS units_before
    FROM hopsmeter.stripe_counted c
    -- What a person saw is of the customer that was told last before.
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.is_again THEN
                   (SELECT o.identifier FROM hopsmeter.stripe_reports o
                    WHERE o.account_no = c.account_no AND o.day = c.day AND o.seq < c.seq
                      AND o.sent_at IS NOT NULL AND o.state <> 'given up' ORDER BY o.seq DESC LIMIT 1)
               ELSE c.identifier END AS identifier) t
    WHERE c.account_no = r.account_no AND c.day = r.day
      AND split_part(t.identifier, ':', 1) = split_part(r.identifier, ':', 1)) s
JOIN hopsmeter.stripe_meters m ON m.kind = r.meter
WHERE r.state IN ('due', 'in flight', 'unknown', 'refused') AND r.sent_at IS NOT NULL
  AND r.next_try_at <= %(counted)s
  AND (r.meter = 'sum' AND r.sent_at <= %(forgotten)s AND r.state <> 'refused'
       OR r.state = 'refused' AND r.tries > 1 OR r.day < %(oldest)s OR g.is_gone)
  AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
ORDER BY r.id LIMIT %(limit)s;

-- name: decide_arrived
-- Stripe has it: its acceptance is written by the same statement as any other. `tries`: as it was asked about.
UPDATE hopsmeter.stripe_reports
SET state = 'in flight', lease_token = %(token)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND state IN ('due', 'in flight', 'unknown', 'refused') AND tries = %(tries)s
  AND (lease_until IS NULL OR lease_until < clock_timestamp());

-- name: decide_lost
-- Stripe never had it: it is sent as if for the first time. Under its own identifier all the same: should a try
-- have arrived later than any sum showed, Stripe says that there is one, as long as it knows it.
UPDATE hopsmeter.stripe_reports
SET state = 'due', sent_at = NULL, tries = 0, next_try_at = %(now)s, lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND state IN ('due', 'in flight', 'unknown') AND tries = %(tries)s
  AND (lease_until IS NULL OR lease_until < clock_timestamp());

-- name: plainly_refused
-- What was refused never arrived, nor did a try before that: as if it had been refused at the first.
UPDATE hopsmeter.stripe_reports SET tries = 1
WHERE id = %(id)s AND state = 'refused' AND tries = %(tries)s;

-- name: undecided
-- What Stripe says fits neither: a person says what became of it.
UPDATE hopsmeter.stripe_reports SET error = %(error)s WHERE id = %(id)s;

-- name: said_of_day
-- What Stripe says it has of an account's day, what it accepted and counts as told, and what forbids to tell it again.
-- `is_past`: no subscription of now bills it. `elsewhere`: what of it counts was told to a customer that was deleted.
SELECT s.units AS said, s.fetched_at, d.units AS counted, a.meter, a.billed_from,
       a.ended_since IS NOT NULL OR a.customer_deleted OR a.billed_from IS NULL
           OR d.day < (a.billed_from AT TIME ZONE 'UTC')::date AS is_past,
       a.customer_deleted
           OR EXISTS (
               SELECT FROM hopsmeter.stripe_reports r
               WHERE r.account_no = d.account_no AND r.day = d.day AND r.sent_at IS NOT NULL
                 AND r.state <> 'given up' AND split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id
                 AND (r.meter = 'sum'
                      OR r.seq = (SELECT max(n.seq) FROM hopsmeter.stripe_reports n
                                  WHERE n.account_no = r.account_no AND n.day = r.day
                                    AND n.sent_at IS NOT NULL AND n.state <> 'given up'))) AS elsewhere,
       (SELECT i.id FROM hopsmeter.stripe_invoice_days i
        WHERE i.account_no = d.account_no AND i.usage_end <= a.billed_from
          AND d.day = (a.billed_from AT TIME ZONE 'UTC')::date AND d.day >= i.first AND d.day < i.after
        ORDER BY i.usage_start LIMIT 1) AS shared_id,
       coalesce((SELECT a.units FROM hopsmeter.stripe_accepted a
                 WHERE a.account_no = d.account_no AND a.day = d.day), 0) AS accepted,
       EXISTS (SELECT FROM hopsmeter.stripe_reports r
               WHERE r.account_no = d.account_no AND r.state IN ('due', 'in flight', 'unknown', 'refused'))
           AS under_way,
       hopsmeter.stripe_final_invoice(d.account_no, d.day) AS final_id,
       (SELECT max(r.ended_at) FROM hopsmeter.stripe_reports r
        WHERE r.account_no = d.account_no AND r.day = d.day
          AND r.state IN ('accepted', 'superseded')) AS accepted_at
FROM hopsmeter.stripe_days d
JOIN hopsmeter.stripe_accounts a ON a.account_no = d.account_no
JOIN hopsmeter.users u ON u.no = d.account_no
LEFT JOIN hopsmeter.stripe_summaries s ON s.account_no = d.account_no AND s.day = d.day
WHERE d.account_no = %(account_no)s AND d.day = %(day)s FOR UPDATE OF d;

-- name: heard_of_day
-- What Stripe has of an account's day by each report, the oldest first, and whether for an instant from `since` on.
SELECT value, event_at >= %(since)s IS TRUE AS own, event_at FROM hopsmeter.stripe_counted
WHERE account_no = %(account_no)s AND day = %(day)s ORDER BY seq;

-- name: undecided_report
-- The report of an account's day whose outcome is unknown, whether it can be told again, and by when Stripe's sums
-- have what its last try brought; a refusal at the first leaves nothing open.
SELECT r.id, r.tries, r.state = 'refused' OR g.is_over AS is_over,
       CASE WHEN r.state <> 'refused' OR r.tries > 1 THEN r.next_try_at + %(counted_after)s END AS counted_at
FROM hopsmeter.stripe_reports r
JOIN hopsmeter.stripe_accounts a ON a.account_no = r.account_no
JOIN hopsmeter.users u ON u.no = r.account_no
CROSS JOIN LATERAL (
    SELECT r.day < %(oldest)s OR a.customer_deleted
           OR split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id AS is_over) g
WHERE r.account_no = %(account_no)s AND r.day = %(day)s AND r.sent_at IS NOT NULL
  AND (r.state IN ('in flight', 'unknown', 'refused') OR r.state = 'due' AND g.is_over);

-- name: shorten_waits
-- Open reports that wait for a moment further on than any pause or lease: a clock that was ahead wrote it. No try
-- was later than now; when the first was nobody knows, so it counts as long ago.
UPDATE hopsmeter.stripe_reports
SET next_try_at = least(next_try_at, %(now)s::timestamptz),
    sent_at = CASE WHEN sent_at > %(ahead)s THEN %(long_ago)s ELSE sent_at END,
    lease_until = CASE WHEN lease_until > clock_timestamp() + make_interval(secs => 2 * %(lease_s)s)
                       THEN clock_timestamp() + make_interval(secs => %(lease_s)s) ELSE lease_until END
WHERE state IN ('due', 'in flight', 'unknown', 'refused')
  AND (next_try_at > %(waits_until)s OR sent_at > %(ahead)s
       OR lease_until > clock_timestamp() + make_interval(secs => 2 * %(lease_s)s));

-- name: reports_to_come
-- Reports for a moment that has not come: Stripe has none of them.
SELECT id FROM hopsmeter.stripe_reports
WHERE state IN ('due', 'in flight', 'unknown') AND event_at > %(ahead)s ORDER BY id LIMIT %(limit)s;

-- name: days_to_come
-- What is owed of days that have not begun; those with a report that is open wait for its outcome. `moves` away from
-- such a day only ever become more.
SELECT d.account_no, d.day, d.due_nano,
       (SELECT count(*) FROM hopsmeter.stripe_moves m
        WHERE m.account_no = d.account_no AND m.from_day = d.day) AS moves
FROM hopsmeter.stripe_days d
WHERE d.posted_nano + d.moved_nano <> d.snapshot_nano AND d.day > %(today)s
  AND NOT EXISTS (SELECT FROM hopsmeter.stripe_reports r
                  WHERE r.account_no = d.account_no AND r.day = d.day
                    AND r.state IN ('due', 'in flight', 'unknown', 'refused'))
ORDER BY d.account_no, d.day LIMIT %(limit)s;
