-- The proof of what was told to Stripe: each from the ledger, from reports and moves, and from Stripe's answers.
-- A report that is `settled` takes units back: it was never sent, and leaves the account's remainder alone. Under
-- `late …` Stripe has them, and their invoice did not hear of them, or is void; less than none, where one bills what
-- was not counted. Under `again …` Stripe said it has not, and a person has them told again.

-- name: is_set_up
-- Whether `stripe setup` was run, or something was reported or moved all the same.
SELECT EXISTS (SELECT FROM hopsmeter.stripe_site) OR EXISTS (SELECT FROM hopsmeter.stripe_meters)
    OR EXISTS (SELECT FROM hopsmeter.stripe_reports) OR EXISTS (SELECT FROM hopsmeter.stripe_moves);

-- name: unread
-- Days with a posting that was not added up into stripe_days yet: how many, and since when the oldest waits.
SELECT count(DISTINCT p.day), min(p.at) FROM hopsmeter.postings p
LEFT JOIN hopsmeter.stripe_days_read r ON r.day = p.day
WHERE p.no > coalesce(r.posting_no, 0)
  AND p.day >= (%(since)s AT TIME ZONE 'UTC')::date AND p.day < (%(until)s AT TIME ZONE 'UTC')::date;

-- name: posted_differs
-- Account-days of which stripe_days says another amount than the ledger moved into the receivable, up to the
-- posting that was read. What was moved there by hand has no such mark: a day that lacks its newest ones is
-- pending. Beside the span also days that were not read to their end, or moved to by hand, since the sums of
-- accounts leave them out.
WITH unread AS MATERIALIZED (
    SELECT DISTINCT p.day FROM hopsmeter.postings p
    LEFT JOIN hopsmeter.stripe_days_read r ON r.day = p.day WHERE p.no > coalesce(r.posting_no, 0)),
hands AS MATERIALIZED (
    SELECT account_no, day, sum(amount_nano) AS nano, array_agg(newest_nano) AS newest
    FROM (SELECT account_no, posted_on AS day, amount_nano,
                 sum(amount_nano) OVER (PARTITION BY account_no, posted_on ORDER BY id DESC)
                     AS newest_nano
          FROM hopsmeter.ledger_entries WHERE posting_no IS NULL AND contra = 2) h
    GROUP BY account_no, day),
days AS MATERIALIZED (
    SELECT day FROM unread UNION SELECT day FROM hands
    UNION SELECT generate_series((%(since)s AT TIME ZONE 'UTC')::date,
                                 (%(until)s AT TIME ZONE 'UTC')::date - 1, interval '1 day')::date),
entered AS (
    SELECT e.account_no, e.usage_day AS day,
           sum(CASE WHEN e.book = 2 THEN -e.amount_nano ELSE e.amount_nano END) AS nano,
           sum(CASE WHEN e.book = 2 THEN -e.amount_nano ELSE e.amount_nano END)
               FILTER (WHERE e.posting_no <= r.posting_no) AS read_nano
    FROM hopsmeter.ledger_entries e
    LEFT JOIN hopsmeter.stripe_days_read r ON r.day = e.usage_day
    WHERE e.usage_day IN (SELECT day FROM days) AND (e.book = 2 OR e.contra = 2)
    GROUP BY e.account_no, e.usage_day),
held AS (
    SELECT account_no, day, posted_nano FROM hopsmeter.stripe_days
    WHERE day IN (SELECT day FROM days) AND posted_nano <> 0),
compared AS (
    SELECT account_no, day, coalesce(d.posted_nano, 0) AS posted_nano,
           coalesce(e.read_nano, 0) + coalesce(h.nano, 0) AS nano,
           coalesce(e.nano, 0) + coalesce(h.nano, 0) AS whole_nano, h.newest
    FROM entered e FULL JOIN held d USING (account_no, day) FULL JOIN hands h USING (account_no, day)),
wrong AS (
    SELECT *, newest IS NOT NULL
              AND (posted_nano = whole_nano
                   OR whole_nano - posted_nano = ANY (newest) OR nano - posted_nano = ANY (newest))
              AS is_pending
    FROM compared WHERE posted_nano <> nano)
SELECT coalesce(u.id, 'account ' || w.account_no), w.day, w.posted_nano, w.nano, w.is_pending
FROM wrong w LEFT JOIN hopsmeter.users u ON u.no = w.account_no
ORDER BY w.is_pending, w.day, w.account_no LIMIT %(limit)s;

-- name: days_differ
-- Account-days that are not what their moves and their newest report say.
WITH moves AS (
    SELECT account_no, day, sum(nano) AS nano
    FROM (SELECT account_no, from_day AS day, -amount_nano AS nano FROM hopsmeter.stripe_moves
          UNION ALL
          SELECT account_no, to_day, amount_nano FROM hopsmeter.stripe_moves
          WHERE to_day IS NOT NULL) m
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date
    GROUP BY account_no, day),
newest AS (
    SELECT DISTINCT ON (account_no, day) account_no, day, snapshot_nano, units, seq
    FROM hopsmeter.stripe_reports
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date
    ORDER BY account_no, day, seq DESC),
held AS (
    SELECT * FROM hopsmeter.stripe_days
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date)
SELECT coalesce(u.id, 'account ' || account_no), day,
       coalesce(d.moved_nano, 0), coalesce(m.nano, 0),
       coalesce(d.snapshot_nano, 0), coalesce(n.snapshot_nano, 0),
       coalesce(d.units, 0), coalesce(n.units, 0), coalesce(d.seq, 0), coalesce(n.seq, 0)
FROM held d FULL JOIN newest n USING (account_no, day) FULL JOIN moves m USING (account_no, day)
LEFT JOIN hopsmeter.users u ON u.no = account_no
WHERE (coalesce(d.moved_nano, 0), coalesce(d.snapshot_nano, 0), coalesce(d.units, 0), coalesce(d.seq, 0))
      <> (coalesce(m.nano, 0), coalesce(n.snapshot_nano, 0), coalesce(n.units, 0), coalesce(n.seq, 0))
ORDER BY day, account_no LIMIT %(limit)s;

-- name: chains_differ
-- Reports that do not go on where the one of their day before ended, or whose units and remainder are not
-- what their amounts come to. Of one account they are made one after the other, so the remainder goes from
-- each to the next by number, whichever day it is about.
WITH bounds AS MATERIALIZED (
    SELECT min(id) AS first, max(id) AS last, (SELECT min(id) FROM hopsmeter.stripe_reports) AS very_first
    FROM hopsmeter.stripe_reports
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date),
these AS (
    SELECT r.*, r.state = 'settled' AS is_back
    FROM hopsmeter.stripe_reports r, bounds b WHERE r.id BETWEEN b.first AND b.last),
chained AS (
    SELECT *,
           row_number() OVER of_day AS number,
           coalesce(lag(units) OVER of_day, 0) AS units_last,
           coalesce(lag(snapshot_nano) OVER of_day, 0) AS snapshot_last,
           -- Before the first of a part nothing is known, but before the very first there was nothing.
           CASE WHEN NOT is_back THEN
               coalesce(lag(remainder_nano) OVER (PARTITION BY account_no, is_back ORDER BY id),
                        CASE WHEN (SELECT first = very_first FROM bounds) THEN 0 END)
               END AS remainder_last
    FROM these WINDOW of_day AS (PARTITION BY account_no, day ORDER BY seq)),
judged AS (
    SELECT *,
           CASE WHEN seq <> number THEN 'number ' || number || ' of the day is missing'
                WHEN units_before <> units_last
                    THEN 'goes on from ' || units_before || ' units, and the one before ended with '
                         || units_last
                WHEN remainder_nano >= unit_nano
                    THEN 'leaves ' || remainder_nano || ' nano, which is a unit and more'
                WHEN CASE WHEN is_back THEN 0
                          ELSE remainder_nano - coalesce(remainder_last, remainder_nano) END
                     <> snapshot_nano - snapshot_last - (units - units_before) * unit_nano
                     AND (is_back OR remainder_last IS NOT NULL)
                    THEN 'tells ' || units - units_before || ' units of '
                         || snapshot_nano - snapshot_last || ' nano'
                         || CASE WHEN is_back THEN ''
                                 ELSE ', with ' || remainder_last || ' nano carried to it and '
                                      || remainder_nano || ' left' END
                END AS fault
    FROM chained
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date)
SELECT coalesce(u.id, 'account ' || j.account_no), j.day, j.seq, j.fault
FROM judged j LEFT JOIN hopsmeter.users u ON u.no = j.account_no
WHERE j.fault IS NOT NULL ORDER BY j.id LIMIT %(limit)s;

-- name: remainders_differ
-- Accounts whose remainder is not that of the newest report that was made of them.
WITH newest AS (
    SELECT account_no, max(id) AS id FROM hopsmeter.stripe_reports
    WHERE state <> 'settled' GROUP BY account_no),
told AS (
    SELECT n.account_no, r.day, r.seq, r.remainder_nano FROM newest n
    JOIN hopsmeter.stripe_reports r ON r.id = n.id)
SELECT coalesce(u.id, 'account ' || account_no), coalesce(a.remainder_nano, 0),
       coalesce(t.remainder_nano, 0)
FROM hopsmeter.stripe_accounts a FULL JOIN told t USING (account_no)
LEFT JOIN hopsmeter.users u ON u.no = account_no
WHERE coalesce(a.remainder_nano, 0) <> coalesce(t.remainder_nano, 0)
ORDER BY account_no LIMIT %(limit)s;

-- name: accounts_told
-- Per account, of all time: what the ledger moved into its receivable, the units of the newest report of each
-- day, what was settled by hand, what is due, and the remainder. Days that were not read to their end, or moved
-- to by hand, are taken as stripe_days has them: they are compared by themselves.
WITH unread AS MATERIALIZED (
    SELECT DISTINCT p.day FROM hopsmeter.postings p
    LEFT JOIN hopsmeter.stripe_days_read r ON r.day = p.day WHERE p.no > coalesce(r.posting_no, 0)),
hands AS MATERIALIZED (
    SELECT DISTINCT account_no, posted_on AS day FROM hopsmeter.ledger_entries
    WHERE posting_no IS NULL AND contra = 2),
entered AS (
    SELECT e.account_no, sum(CASE WHEN e.book = 2 THEN -e.amount_nano ELSE e.amount_nano END) AS nano
    FROM hopsmeter.ledger_entries e
    LEFT JOIN unread n ON n.day = e.usage_day
    LEFT JOIN hands h ON h.account_no = e.account_no AND h.day = coalesce(e.usage_day, e.posted_on)
    WHERE (e.book = 2 AND e.contra NOT IN (16, 17) OR e.contra = 2) AND n.day IS NULL AND h.day IS NULL
    GROUP BY e.account_no),
held AS (
    SELECT d.account_no, sum(d.due_nano) AS due_nano,
           sum(d.posted_nano) FILTER (WHERE n.day IS NOT NULL OR h.day IS NOT NULL) AS apart_nano
    FROM hopsmeter.stripe_days d LEFT JOIN unread n USING (day) LEFT JOIN hands h USING (account_no, day)
    GROUP BY d.account_no),
newest AS (
    SELECT DISTINCT ON (account_no, day) account_no, units::numeric * unit_nano AS nano
    FROM hopsmeter.stripe_reports ORDER BY account_no, day, seq DESC),
told AS (SELECT account_no, sum(nano) AS nano FROM newest GROUP BY account_no),
settled AS (
    SELECT account_no, sum(amount_nano) AS nano FROM hopsmeter.stripe_moves WHERE to_day IS NULL
    GROUP BY account_no)
SELECT coalesce(u.id, 'account ' || account_no), coalesce(u.currency, '?'),
       coalesce(e.nano, 0) + coalesce(d.apart_nano, 0), coalesce(t.nano, 0), coalesce(s.nano, 0),
       coalesce(d.due_nano, 0), coalesce(a.remainder_nano, 0)
FROM entered e FULL JOIN held d USING (account_no) FULL JOIN told t USING (account_no)
FULL JOIN settled s USING (account_no)
LEFT JOIN hopsmeter.stripe_accounts a USING (account_no)
LEFT JOIN hopsmeter.users u ON u.no = account_no
ORDER BY account_no;

-- name: reports_astray
-- Reports without the entry that their acceptance posts, or with another one; and those that were not accepted
-- and have one.
WITH these AS (
    SELECT r.*, r.state = 'settled' AS is_back
    FROM hopsmeter.stripe_reports r
    WHERE r.day >= (%(since)s AT TIME ZONE 'UTC')::date AND r.day < (%(until)s AT TIME ZONE 'UTC')::date),
judged AS (
    SELECT r.*, e.amount_nano,
           CASE WHEN r.entry_id IS NULL THEN
                    CASE WHEN (r.is_back OR r.state IN ('accepted', 'superseded'))
                              AND r.units <> r.units_before THEN 'no entry of it' END
                WHEN NOT (r.is_back OR r.state IN ('accepted', 'superseded'))
                    THEN 'entry ' || r.entry_id || ' of it, which is ' || r.state
                WHEN e.id IS NULL THEN 'its entry ' || r.entry_id || ' is not there'
                WHEN (e.account_no, e.book, e.contra) <> (r.account_no, 2, 16)
                    THEN 'entry ' || e.id || ' is none of a report of the account'
                WHEN e.amount_nano <> (r.units - r.units_before) * r.unit_nano
                    THEN 'entry ' || e.id || ' moves ' || e.amount_nano || ' nano, '
                         || r.units - r.units_before || ' units are '
                         || (r.units - r.units_before) * r.unit_nano
                WHEN e.ref <> CASE WHEN r.is_back THEN '' ELSE 'stripe ' END || r.identifier
                    THEN 'entry ' || e.id || ' has another key'
                WHEN e.reverses IS NOT NULL AND NOT EXISTS (
                    SELECT FROM hopsmeter.stripe_reports o
                    WHERE o.account_no = r.account_no AND o.day = r.day AND o.entry_id = e.reverses)
                    THEN 'entry ' || e.id || ' takes back entry ' || e.reverses
                         || ', which is of no report of the day'
                END AS fault
    FROM these r LEFT JOIN hopsmeter.ledger_entries e ON e.id = r.entry_id)
SELECT coalesce(u.id, 'account ' || j.account_no), j.day, j.seq, j.fault
FROM judged j LEFT JOIN hopsmeter.users u ON u.no = j.account_no
WHERE j.fault IS NOT NULL ORDER BY j.id LIMIT %(limit)s;

-- name: moves_astray
-- Moves that were settled by hand without their entry, and others that have one.
WITH judged AS (
    SELECT m.*,
           CASE WHEN m.kind <> 'settled' THEN
                    CASE WHEN m.entry_id IS NOT NULL THEN 'has an entry, and moves to another day' END
                WHEN m.entry_id IS NULL OR e.id IS NULL THEN 'no entry of it'
                WHEN (e.account_no, e.book, e.contra) <> (m.account_no, 2, 17)
                    THEN 'entry ' || e.id || ' settles nothing of the account'
                WHEN (e.amount_nano, e.ref) <> (m.amount_nano, m.ref)
                    THEN 'entry ' || e.id || ' moves ' || e.amount_nano || ' nano, it says '
                         || m.amount_nano
                END AS fault
    FROM hopsmeter.stripe_moves m LEFT JOIN hopsmeter.ledger_entries e ON e.id = m.entry_id
    WHERE m.from_day >= (%(since)s AT TIME ZONE 'UTC')::date
      AND m.from_day < (%(until)s AT TIME ZONE 'UTC')::date)
SELECT coalesce(u.id, 'account ' || j.account_no), j.from_day, j.id, j.fault
FROM judged j LEFT JOIN hopsmeter.users u ON u.no = j.account_no
WHERE j.fault IS NOT NULL ORDER BY j.id LIMIT %(limit)s;

-- name: entries_astray
-- Entries that say something was reported to Stripe, or settled by hand, and are not of exactly one report, or
-- move. Whether Stripe is set up or not.
WITH these AS MATERIALIZED (
    SELECT id, account_no, contra, amount_nano FROM hopsmeter.ledger_entries
    WHERE contra IN (16, 17) AND posted_on >= (%(since)s AT TIME ZONE 'UTC')::date
      AND posted_on < (%(until)s AT TIME ZONE 'UTC')::date),
known AS (
    SELECT entry_id AS id, 16 AS contra FROM hopsmeter.stripe_reports WHERE entry_id IS NOT NULL
    UNION ALL
    SELECT entry_id, 17 FROM hopsmeter.stripe_moves WHERE entry_id IS NOT NULL),
counted AS (
    SELECT t.id, t.account_no, t.contra, t.amount_nano, count(k.id) AS found
    FROM these t LEFT JOIN known k ON k.id = t.id AND k.contra = t.contra
    GROUP BY t.id, t.account_no, t.contra, t.amount_nano HAVING count(k.id) <> 1)
SELECT coalesce(u.id, 'account ' || c.account_no), c.id, c.contra, c.amount_nano, c.found
FROM counted c LEFT JOIN hopsmeter.users u ON u.no = c.account_no
ORDER BY c.id LIMIT %(limit)s;

-- name: summaries_compared
-- What Stripe says it has of each account's day, as last fetched, beside what it accepted: how many days are
-- equal, differ, wait (fetched before Stripe may have counted it, or something is under way whose outcome
-- nobody knows), were never fetched, or were told to a customer that was deleted, whose sums bill nothing any more
-- (of a sum meter any of it, of a daily one the last; what was equal when last fetched is equal): what it was billed
-- its final invoices say, and what is on none is taken back; when what is newest and oldest of them was fetched; and the first that
-- differ. What it accepted is a view: not all of it is counted as told (a part of a day that two subscriptions
-- share, what came too late).
WITH accepted AS (
    SELECT account_no, day, units, at FROM hopsmeter.stripe_accepted
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date),
under_way AS (
    SELECT account_no, day FROM hopsmeter.stripe_reports
    WHERE sent_at IS NOT NULL AND state IN ('due', 'in flight', 'unknown')
      AND day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date),
summed AS (
    SELECT * FROM hopsmeter.stripe_summaries
    WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND day < (%(until)s AT TIME ZONE 'UTC')::date),
judged AS (
    SELECT account_no, day, coalesce(s.units, 0) AS said, coalesce(a.units, 0) AS accepted, s.fetched_at,
           CASE WHEN s.units IS NULL THEN CASE WHEN coalesce(a.units, 0) = 0 THEN 'nothing' ELSE 'none' END
                WHEN s.units = coalesce(a.units, 0) THEN 'equal'
                WHEN o.day IS NOT NULL OR s.fetched_at < a.at + %(lag)s THEN 'wait'
                ELSE 'differ' END AS what
    FROM accepted a FULL JOIN summed s USING (account_no, day)
    LEFT JOIN under_way o USING (account_no, day)),
known AS (
    SELECT account_no, day, said, accepted, fetched_at,
           CASE WHEN what IN ('equal', 'nothing') THEN what
                WHEN EXISTS (SELECT FROM hopsmeter.stripe_accounts a
                             WHERE a.account_no = j.account_no AND a.customer_deleted)
                    OR EXISTS (
                    SELECT FROM hopsmeter.stripe_reports r JOIN hopsmeter.users u ON u.no = r.account_no
                    WHERE r.account_no = j.account_no AND r.day = j.day AND r.sent_at IS NOT NULL
                      AND r.state <> 'given up' AND split_part(r.identifier, ':', 1) IS DISTINCT FROM u.stripe_customer_id
                      AND (r.meter = 'sum'
                           OR r.seq = (SELECT max(n.seq) FROM hopsmeter.stripe_reports n
                                       WHERE n.account_no = r.account_no AND n.day = r.day
                                         AND n.sent_at IS NOT NULL AND n.state <> 'given up')))
                    THEN 'gone'
                ELSE what END AS what
    FROM judged j),
wrong AS (
    SELECT coalesce(u.id, 'account ' || j.account_no) AS account, j.day, j.said, j.accepted
    FROM known j LEFT JOIN hopsmeter.users u ON u.no = j.account_no
    WHERE j.what = 'differ' ORDER BY j.day, j.account_no LIMIT %(limit)s)
SELECT count(*) FILTER (WHERE what = 'equal'), count(*) FILTER (WHERE what = 'differ'),
       count(*) FILTER (WHERE what = 'wait'), count(*) FILTER (WHERE what = 'none'),
       count(*) FILTER (WHERE what = 'gone'),
       max(fetched_at), min(fetched_at),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(account, day, said, accepted) ORDER BY day, account), '[]')
        FROM wrong)
FROM known;

-- name: reported_days
-- Days of an account in a time: what was posted, moved and told of each, what Stripe said it has, and the final
-- invoice that it is on.
SELECT d.day, d.posted_nano, d.moved_nano, d.snapshot_nano, d.due_nano, d.units, s.units AS said_units,
       s.fetched_at, hopsmeter.stripe_final_invoice(d.account_no, d.day) AS invoice_id
FROM hopsmeter.stripe_days d
LEFT JOIN hopsmeter.stripe_summaries s ON s.account_no = d.account_no AND s.day = d.day
WHERE d.account_no = %(account_no)s AND d.day >= %(first)s AND d.day < %(after)s
ORDER BY d.day;

-- name: reports_of_days
-- Their reports, by day and number.
SELECT day, seq, meter, state, units_before, units, unit_nano, snapshot_nano, remainder_nano, identifier,
       made_at, sent_at, ended_at, entry_id, coalesce(error, '') AS error
FROM hopsmeter.stripe_reports
WHERE account_no = %(account_no)s AND day >= %(first)s AND day < %(after)s
ORDER BY day, seq;

-- name: moves_of_days
-- What was taken from these days, brought to them, or settled by hand of them.
SELECT id, from_day, to_day, amount_nano, kind, invoice_id, entry_id, at, by, why
FROM hopsmeter.stripe_moves
WHERE account_no = %(account_no)s
  AND (from_day >= %(first)s AND from_day < %(after)s OR to_day >= %(first)s AND to_day < %(after)s)
ORDER BY id;

-- name: report_of_entry
-- The report that an entry is of.
SELECT day, seq, meter, state, units_before, units, unit_nano, snapshot_nano, remainder_nano, identifier,
       made_at, sent_at, ended_at, entry_id, coalesce(error, '') AS error
FROM hopsmeter.stripe_reports WHERE entry_id = %(entry)s ORDER BY id LIMIT 1;

-- name: move_of_entry
-- What was settled by hand with an entry.
SELECT id, from_day, to_day, amount_nano, kind, invoice_id, entry_id, at, by, why
FROM hopsmeter.stripe_moves WHERE entry_id = %(entry)s ORDER BY id LIMIT 1;

-- name: purchases_compared
-- Purchases that are credited, with what the ledger has of each (came, taken back and not given back), and what
-- Stripe, as last fetched, has given back or lost of the payment; and when that was, where it is still looked at.
WITH refunds AS MATERIALIZED (
    SELECT id, account_no, reverses, amount_nano FROM hopsmeter.ledger_entries WHERE contra = 15),
moved AS (
    SELECT account_no, reverses AS entry_id, amount_nano FROM refunds WHERE amount_nano < 0
    UNION ALL
    SELECT t.account_no, t.reverses, b.amount_nano
    FROM refunds b JOIN refunds t ON t.id = b.reverses AND t.account_no = b.account_no
    WHERE b.amount_nano > 0),
taken AS (
    SELECT account_no, entry_id, -sum(amount_nano)::bigint AS nano FROM moved GROUP BY 1, 2),
claimed AS (
    SELECT purchase_id, sum(minor) FILTER (WHERE holds)::bigint AS minor FROM hopsmeter.stripe_claims
    GROUP BY 1)
SELECT coalesce(u.id, 'account ' || p.account_no), p.id,
       CASE WHEN p.created_at > %(looked_at_since)s THEN p.fetched_at END, p.currency, p.amount_nano,
       coalesce(e.amount_nano, 0), p.refunded_nano, coalesce(t.nano, 0), coalesce(c.minor, 0)
FROM hopsmeter.stripe_purchases p
LEFT JOIN hopsmeter.users u ON u.no = p.account_no
LEFT JOIN hopsmeter.ledger_entries e ON e.id = p.entry_id AND e.account_no = p.account_no
                                    AND e.contra = 12 AND e.ref = p.session_id
LEFT JOIN taken t ON t.account_no = p.account_no AND t.entry_id = p.entry_id
LEFT JOIN claimed c ON c.purchase_id = p.id
WHERE p.state = 'paid' ORDER BY p.id;
