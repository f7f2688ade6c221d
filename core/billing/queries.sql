-- Accounts: their lots, modes, policy, marks and events.

-- name: settled_before
-- Whether every hour before a day that may still bring charges of it is posted, or never will be.
SELECT NOT EXISTS (
    SELECT FROM hopsmeter.collection_windows w
    WHERE w.hour < %(day)s::timestamp AT TIME ZONE 'UTC'
      AND w.hour >= (%(day)s::date - 45)::timestamp AT TIME ZONE 'UTC'
      AND (w.stored_no <> w.posted_no OR w.revision = 0 AND w.state NOT IN ('gap', 'waived')))
   AND NOT EXISTS (
    SELECT FROM hopsmeter.hopsworks_clusters c
    WHERE c.status = 'active'
      AND c.metering_since < %(day)s::timestamp AT TIME ZONE 'UTC'
      AND NOT EXISTS (SELECT FROM hopsmeter.collection_windows w
                      WHERE w.cluster_id = c.id
                        AND w.hour = %(day)s::timestamp AT TIME ZONE 'UTC' - interval '1 hour'));

-- name: lots_past_date
-- Lots whose date is past and whose expiry is not posted yet, oldest date first.
SELECT id, account_no, expires_on FROM hopsmeter.credit_lots
WHERE expired_at IS NULL AND expires_on <= %(today)s
ORDER BY expires_on, account_no, id LIMIT %(limit)s;

-- name: hold_marks
-- Of these accounts those whose marks nobody else is about to change.
SELECT account_no FROM hopsmeter.user_credits WHERE account_no = ANY (%(accounts)s)
ORDER BY account_no FOR UPDATE SKIP LOCKED;

-- name: marks_to_change
-- Accounts that deduct from credits and whose marks are not what their books say, of some or of all;
-- the others are left alone. Low and empty are told of once, until there is more again.
WITH standing AS (
    SELECT c.account_no, c.low_nano, c.low_at, c.empty_at, c.beyond_at,
           coalesce(k.balance_nano, 0) AS credits, coalesce(-r.balance_nano, 0) AS owed,
           c.grace_nano
    FROM hopsmeter.user_credits c
    LEFT JOIN hopsmeter.ledger_balances k ON k.account_no = c.account_no AND k.book = 1
    LEFT JOIN hopsmeter.ledger_balances r ON r.account_no = c.account_no AND r.book = 3
    WHERE %(accounts)s::int[] IS NULL OR c.account_no = ANY (%(accounts)s)),
concerned AS MATERIALIZED (   -- of all others nothing is so, and nothing is marked
    SELECT *, hopsmeter.mode_on(account_no, %(today)s) AS mode FROM standing
    WHERE credits = 0 OR credits < low_nano OR owed > grace_nano
       OR num_nonnulls(low_at, empty_at, beyond_at) > 0),
told AS (
    SELECT account_no, credits, owed, low_nano, grace_nano, mode,
           mode <> 'postpaid' AND credits = 0 AS is_empty,
           mode <> 'postpaid' AND coalesce(credits < low_nano, false) AS is_low,
           owed > grace_nano AS is_beyond, low_at, empty_at, beyond_at
    FROM concerned)
SELECT t.account_no, u.id, u.currency, t.credits, t.owed, t.low_nano, t.grace_nano, t.mode,
       t.is_low, t.is_empty, t.is_beyond, t.low_at, t.empty_at, t.beyond_at,
       t.low_at IS NULL AND t.is_low AS newly_low,
       t.empty_at IS NULL AND t.is_empty AS newly_empty,
       t.beyond_at IS NULL AND t.is_beyond AS newly_beyond
FROM told t JOIN hopsmeter.users u ON u.no = t.account_no
WHERE (t.low_at IS NOT NULL, t.empty_at IS NOT NULL, t.beyond_at IS NOT NULL)
    IS DISTINCT FROM (t.is_low, t.is_empty, t.is_beyond)
ORDER BY t.account_no LIMIT %(limit)s;

-- name: mark
-- Since when credits are low, gone, or more is owed than the policy allows; unless somebody else
-- marked it meanwhile, who has told of it then.
UPDATE hopsmeter.user_credits
SET low_at = CASE WHEN %(is_low)s THEN coalesce(low_at, %(now)s) END,
    empty_at = CASE WHEN %(is_empty)s THEN coalesce(empty_at, %(now)s) END,
    beyond_at = CASE WHEN %(is_beyond)s THEN coalesce(beyond_at, %(now)s) END
WHERE account_no = %(account_no)s
  AND (low_at IS NOT NULL, empty_at IS NOT NULL, beyond_at IS NOT NULL)
      IS DISTINCT FROM (%(is_low)s, %(is_empty)s, %(is_beyond)s);

-- name: posted_since
-- The last day that is posted, where that is a day or a later one.
SELECT max(day) FROM hopsmeter.postings WHERE day >= %(day)s HAVING max(day) IS NOT NULL;

-- name: modes_touching
-- The modes of an account that are not over before a day, oldest first.
SELECT id, mode, lower(valid), upper(valid) FROM hopsmeter.billing_modes
WHERE account_no = %(account_no)s AND (upper_inf(valid) OR upper(valid) > %(since)s)
ORDER BY lower(valid) FOR UPDATE;

-- name: end_mode
-- End a mode on a day.
UPDATE hopsmeter.billing_modes SET valid = daterange(lower(valid), %(until)s) WHERE id = %(id)s;

-- name: drop_mode
-- Take away a mode that has not begun.
DELETE FROM hopsmeter.billing_modes WHERE id = %(id)s;

-- name: add_mode
-- Let an account pay in a mode from a day on.
INSERT INTO hopsmeter.billing_modes (account_no, mode, valid, created_by)
VALUES (%(account_no)s, %(mode)s, daterange(%(since)s, NULL), %(by)s);

-- name: keep_policy
-- One row of policy per account that has credits, or is told something about them.
INSERT INTO hopsmeter.user_credits AS u (account_no, grace_nano, low_nano)
VALUES (%(account_no)s, coalesce(%(grace_nano)s, 0), %(low_nano)s)
ON CONFLICT (account_no) DO UPDATE
SET grace_nano = coalesce(%(grace_nano)s, u.grace_nano),
    low_nano = CASE WHEN %(keep_low)s THEN u.low_nano ELSE %(low_nano)s END;

-- name: add_credits
-- A grant or a purchase, once per key.
SELECT * FROM hopsmeter.add_credits(
    %(account)s, %(against)s::smallint, %(amount)s, %(key)s, %(today)s, %(expires)s,
    %(rank)s::smallint, %(why)s);

-- name: take_credits
-- A negative adjustment or a refund, once per key.
SELECT * FROM hopsmeter.take_credits(
    %(account)s, %(against)s::smallint, %(amount)s, %(key)s, %(today)s, %(lot)s, %(owed)s,
    %(why)s, NULL);

-- name: give_back_refund
-- What a refund took, from the lots and as arrears, becomes a lot again; once, and linked to it.
WITH refund AS (
    SELECT min(id) FILTER (WHERE ref = %(refund)s) AS id, -sum(amount_nano)::bigint AS nano
    FROM hopsmeter.ledger_entries
    WHERE account_no = %(account)s AND ref IN (%(refund)s, %(refund)s || ':arrears') AND contra = 15
    HAVING min(id) FILTER (WHERE ref = %(refund)s) IS NOT NULL),
back AS (
    SELECT nano, hopsmeter.write_entry(%(account)s, 1::smallint, 15::smallint, nano,
               hopsmeter.posting_date(%(today)s, %(today)s), NULL, NULL, %(key)s, %(why)s, id) AS entry
    FROM refund
    WHERE NOT EXISTS (SELECT FROM hopsmeter.ledger_entries
                      WHERE account_no = %(account)s AND ref = %(key)s))
INSERT INTO hopsmeter.credit_lots
    (account_no, entry_id, kind, amount_nano, remaining_nano, expires_on, priority)
SELECT %(account)s, entry, 'correction', nano, nano, %(expires)s, %(rank)s FROM back
RETURNING id AS lot_id, amount_nano;

-- name: repay_arrears
-- Let what came into a lot repay what is owed as arrears.
SELECT hopsmeter.repay_arrears(%(account)s, %(today)s,
                               hopsmeter.posting_date(%(today)s, %(today)s), NULL, NULL, %(key)s,
                               %(lot)s);

-- name: lot_of
-- A lot of an account, which nobody else changes until this is committed.
SELECT l.expires_on, l.expired_at, l.remaining_nano FROM hopsmeter.credit_lots l
WHERE l.id = %(lot)s AND l.account_no = %(account)s FOR UPDATE;

-- name: settle_arrears
-- What is owed as arrears is receivable from now on.
SELECT hopsmeter.write_entry(%(account)s, 3::smallint, 2::smallint, %(amount)s,
                             hopsmeter.posting_date(%(today)s, %(today)s), NULL, NULL, %(key)s,
                             %(why)s, NULL);

-- name: claim_event
-- Take the next event that is due and nobody's, new ones first: they are told of as they are taken.
UPDATE hopsmeter.outgoing_events e
SET tries = e.tries + 1, lease_token = %(token)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM (SELECT id FROM hopsmeter.outgoing_events
      WHERE state = 'due' AND next_try_at <= clock_timestamp()
        AND coalesce(lease_until <= clock_timestamp(), true)
      ORDER BY tries, next_try_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) due, hopsmeter.users u
WHERE e.id = due.id AND u.no = e.account_no
RETURNING e.id, e.message_id, e.type, u.id AS account, e.payload, e.tries, e.lease_token AS token;

-- name: event_delivered
-- It arrived, and is ours to say so.
UPDATE hopsmeter.outgoing_events
SET state = 'delivered', delivered_at = clock_timestamp(), next_try_at = NULL, error = NULL,
    lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: event_failed
-- It did not arrive; another try after a pause.
UPDATE hopsmeter.outgoing_events
SET error = %(why)s, next_try_at = clock_timestamp() + make_interval(secs => %(pause_s)s),
    lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: event_given_up
-- The last try failed.
UPDATE hopsmeter.outgoing_events
SET state = 'given_up', error = %(why)s, next_try_at = NULL, lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: keep_unsent
-- Nobody is there to be sent to; what somebody else is sending at this moment is left to them.
UPDATE hopsmeter.outgoing_events e SET state = 'unsent', next_try_at = NULL
FROM (SELECT id FROM hopsmeter.outgoing_events
      WHERE state = 'due' AND coalesce(lease_until <= clock_timestamp(), true)
      ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due, hopsmeter.users u
WHERE e.id = due.id AND u.no = e.account_no
RETURNING e.id, e.message_id, e.type, u.id AS account, e.payload, e.tries;

-- name: mirror_modes
-- The mode of today beside each user whose says something else.
UPDATE hopsmeter.users u SET billing_mode = hopsmeter.mode_on(u.no, %(today)s)
WHERE u.billing_mode <> hopsmeter.mode_on(u.no, %(today)s);
