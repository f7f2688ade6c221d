-- Stripe: what was set up, whose customers are whose, what was bought.

-- name: currencies_in_use
-- The currencies of accounts and clusters, those that have a price, and those asked for.
SELECT DISTINCT currency FROM (
    SELECT currency FROM hopsmeter.users WHERE currency IS NOT NULL
    UNION SELECT currency FROM hopsmeter.hopsworks_clusters WHERE status <> 'removed'
    UNION SELECT currency FROM hopsmeter.stripe_prices
    UNION SELECT unnest(%(asked)s::text[])) all_of_them
ORDER BY currency;

-- name: users_of_currency
-- Whose a currency is: how many accounts and the first of them, how many clusters and the first.
WITH accounts AS (
    SELECT coalesce(nullif(email, ''), id) AS name FROM hopsmeter.users
    WHERE currency = %(currency)s AND status <> 'deleted'),
clusters AS (
    SELECT name FROM hopsmeter.hopsworks_clusters WHERE currency = %(currency)s AND status <> 'removed')
SELECT (SELECT count(*) FROM accounts), ARRAY(SELECT name FROM accounts ORDER BY name LIMIT %(limit)s),
       (SELECT count(*) FROM clusters), ARRAY(SELECT name FROM clusters ORDER BY name LIMIT %(limit)s);

-- name: keep_meter
-- Keep the id of a meter, unless one is kept; say which is, and whether it is new.
WITH kept AS (
    INSERT INTO hopsmeter.stripe_meters (kind, meter_id, event_name, product_id)
    VALUES (%(kind)s, %(meter_id)s, %(event_name)s, %(product_id)s)
    ON CONFLICT (kind) DO NOTHING RETURNING meter_id)
SELECT meter_id, true FROM kept
UNION ALL SELECT meter_id, false FROM hopsmeter.stripe_meters WHERE kind = %(kind)s
LIMIT 1;

-- name: keep_price
-- The same of a price.
WITH kept AS (
    INSERT INTO hopsmeter.stripe_prices (kind, currency, price_id)
    VALUES (%(kind)s, %(currency)s, %(price_id)s)
    ON CONFLICT (kind, currency) DO NOTHING RETURNING price_id)
SELECT price_id, true FROM kept
UNION ALL SELECT price_id, false FROM hopsmeter.stripe_prices
          WHERE kind = %(kind)s AND currency = %(currency)s
LIMIT 1;

-- name: keep_site
-- Keep which Stripe account this is, or another default meter of the same one.
INSERT INTO hopsmeter.stripe_site AS s (stripe_account, livemode, default_meter)
VALUES (%(account)s, %(livemode)s, %(meter)s)
ON CONFLICT (single) DO UPDATE SET default_meter = excluded.default_meter
WHERE s.default_meter <> excluded.default_meter;

-- name: kept_of_account
-- What our rows say of an account at Stripe.
SELECT s.meter, s.linked_at, u.stripe_customer_id, u.stripe_subscription_id, u.name
FROM hopsmeter.users u LEFT JOIN hopsmeter.stripe_accounts s ON s.account_no = u.no
WHERE u.no = %(account)s;

-- name: begin_account
-- Write down that an account's linking began, and by which meter; the meter stays once it is billed.
INSERT INTO hopsmeter.stripe_accounts AS s (account_no, meter, linked_at)
VALUES (%(account)s, %(meter)s, %(now)s)
ON CONFLICT (account_no) DO UPDATE SET meter = CASE
    WHEN (SELECT stripe_subscription_id FROM hopsmeter.users WHERE no = s.account_no) IS NULL
    THEN excluded.meter ELSE s.meter END
RETURNING s.linked_at;

-- name: keep_customer
-- An account's customer, unless another one was written down meanwhile.
UPDATE hopsmeter.users SET stripe_customer_id = %(new)s
WHERE no = %(account)s AND (stripe_customer_id IS NOT DISTINCT FROM %(old)s
                            OR stripe_customer_id = %(new)s);

-- name: customer_of_another
-- Which other account a customer is.
SELECT id FROM hopsmeter.users WHERE stripe_customer_id = %(customer)s AND no <> %(account)s;

-- name: told_to_another
-- The first day that another customer of an account was told, for an instant from `since` on.
SELECT min(day) FROM hopsmeter.stripe_reports
WHERE account_no = %(account)s AND sent_at IS NOT NULL AND state NOT IN ('given up', 'settled')
  AND event_at >= %(since)s AND split_part(identifier, ':', 1) <> %(customer)s;

-- name: keep_subscription
-- The same of its subscription.
UPDATE hopsmeter.users SET stripe_subscription_id = %(new)s
WHERE no = %(account)s AND (stripe_subscription_id IS NOT DISTINCT FROM %(old)s
                            OR stripe_subscription_id = %(new)s);

-- name: unpark
-- Let an account, or each that is parked, be reported again; what Stripe refused is tried again as it stands.
WITH parked AS (
    SELECT account_no, parked_why FROM hopsmeter.stripe_accounts
    WHERE coalesce(account_no = %(account)s, true) AND parked_at IS NOT NULL
    ORDER BY account_no FOR UPDATE),
freed AS (
    UPDATE hopsmeter.stripe_accounts s SET parked_at = NULL, parked_why = NULL
    FROM parked p WHERE s.account_no = p.account_no),
again AS (
    UPDATE hopsmeter.stripe_reports r SET state = 'due', error = NULL
    FROM parked p WHERE r.account_no = p.account_no AND r.state = 'refused')
SELECT u.id, p.parked_why FROM parked p JOIN hopsmeter.users u ON u.no = p.account_no ORDER BY u.id;

-- name: prices_kept
-- Prices by meter and currency.
SELECT kind, currency, price_id FROM hopsmeter.stripe_prices ORDER BY kind, currency;

-- name: account_of_customer
-- Whose customer it is, with the subscription that counts; nobody else changes it until this ends.
SELECT u.no AS account_no, u.id, u.stripe_subscription_id AS subscription_id
FROM hopsmeter.users u JOIN hopsmeter.stripe_accounts a ON a.account_no = u.no
WHERE u.stripe_customer_id = %(customer)s FOR UPDATE OF a;

-- name: keep_invoice
-- An invoice as last fetched; where what it bills changed, it is to be compared again. What a clock that was ahead
-- left is no later than what is fetched now.
INSERT INTO hopsmeter.stripe_invoices AS i
    (id, account_no, subscription_id, number, status, currency, usage_start, usage_end, units,
     line_minor, total_minor, paid_minor, created_at, finalized_at, attempted, fetched_at)
VALUES (%(id)s, %(account)s, %(subscription)s, %(number)s, %(status)s, %(currency)s,
        %(usage_start)s, %(usage_end)s, %(units)s, %(line_minor)s, %(total_minor)s,
        %(paid_minor)s, %(created_at)s, %(finalized_at)s, %(attempted)s, %(at)s)
ON CONFLICT (id) DO UPDATE
SET number = excluded.number, status = excluded.status, usage_start = excluded.usage_start,
    usage_end = excluded.usage_end, units = excluded.units, line_minor = excluded.line_minor,
    total_minor = excluded.total_minor, paid_minor = excluded.paid_minor,
    finalized_at = excluded.finalized_at, attempted = excluded.attempted,
    fetched_at = excluded.fetched_at,
    compared_at = CASE WHEN (i.units, i.finalized_at)
                            IS NOT DISTINCT FROM (excluded.units, excluded.finalized_at)
                       THEN i.compared_at END
WHERE i.fetched_at <= %(at)s OR i.fetched_at > %(ahead)s;

-- name: keep_gone
-- Invoices that Stripe has no more: drafts that somebody deleted bill nothing, and are asked about no more.
UPDATE hopsmeter.stripe_invoices
SET fetched_at = %(at)s, status = CASE WHEN finalized_at IS NULL THEN 'deleted' ELSE status END,
    usage_start = CASE WHEN finalized_at IS NOT NULL THEN usage_start END,
    usage_end = CASE WHEN finalized_at IS NOT NULL THEN usage_end END,
    units = CASE WHEN finalized_at IS NOT NULL THEN units END,
    line_minor = CASE WHEN finalized_at IS NOT NULL THEN line_minor END
WHERE account_no = %(account)s AND id = ANY (%(ids)s)
  AND (fetched_at <= %(at)s OR fetched_at > %(ahead)s);

-- name: account_of_left
-- Whose invoices these are, that no present customer has: of an account that has one of them, or one of the same
-- subscription; nobody else changes it until this ends. Invoices have no index by subscription, and are only looked
-- through where one is named.
SELECT u.no AS account_no, u.id
FROM hopsmeter.users u JOIN hopsmeter.stripe_accounts a ON a.account_no = u.no
WHERE u.no = coalesce(
    (SELECT min(account_no) FROM hopsmeter.stripe_invoices WHERE id = ANY (%(ids)s)),
    (SELECT min(no) FROM hopsmeter.users WHERE stripe_subscription_id = ANY (%(subscriptions)s)),
    (SELECT min(account_no) FROM hopsmeter.stripe_invoices
     WHERE cardinality(%(subscriptions)s::text[]) > 0 AND subscription_id = ANY (%(subscriptions)s)))
FOR UPDATE OF a;

-- name: forget_drafts
-- Drafts that will never be final bill no usage; what was fetched before then says nothing else any more.
UPDATE hopsmeter.stripe_invoices
SET usage_start = NULL, usage_end = NULL, units = NULL, line_minor = NULL, fetched_at = %(at)s
WHERE account_no = %(account)s AND finalized_at IS NULL AND units IS NOT NULL
  AND (fetched_at <= %(at)s OR fetched_at > %(ahead)s);

-- name: keep_account
-- An account as last fetched; since when something is so stays as long as it is. What a clock that was ahead left is
-- no later than what is fetched now, and began no later. Of a customer that was deleted
-- Stripe tells no subscription: since when it billed is still so, and says which days are on no invoice. Who was not
-- looked at for so long that invoices made meanwhile are not in this look stays as old as he was: the next one lists them.
UPDATE hopsmeter.stripe_accounts a
SET item_id = %(item)s, subscription_status = %(status)s,
    billed_from = CASE WHEN %(deleted)s THEN a.billed_from ELSE %(billed_from)s END,
    period_start = %(period_start)s, period_end = %(period_end)s,
    collection_paused = %(collection_paused)s, has_card = %(has_card)s,
    customer_deleted = %(deleted)s,
    fetched_at = CASE WHEN a.fetched_at < %(since)s THEN a.fetched_at ELSE %(at)s END,
    ended_since = CASE WHEN %(ended)s THEN coalesce(%(ended_at)s, least(a.ended_since, %(at)s)) END,
    paused_since = CASE WHEN %(paused)s THEN least(a.paused_since, %(at)s) END,
    no_card_since = CASE WHEN %(no_card)s THEN least(a.no_card_since, %(at)s) END
WHERE a.account_no = %(account)s
  AND coalesce(a.fetched_at <= %(at)s OR a.fetched_at > %(ahead)s, true);

-- name: keep_unpaid
-- Since when an invoice of an account is unpaid: its own, and what those before it left; not that of a second one beside it.
UPDATE hopsmeter.stripe_accounts a
SET unpaid_since = (SELECT min(coalesce(i.finalized_at, i.created_at))
                    FROM hopsmeter.stripe_invoices i JOIN hopsmeter.users u ON u.no = a.account_no
                    WHERE i.account_no = a.account_no AND i.attempted
                      AND (i.subscription_id = u.stripe_subscription_id
                           OR i.usage_end <= coalesce(a.billed_from, 'infinity'))
                      AND i.status IN ('open', 'uncollectible') AND i.total_minor > i.paid_minor)
WHERE a.account_no = %(account)s;

-- name: standings_to_judge
-- Accounts of which something is wrong, or was.
SELECT a.account_no, u.id, a.standing, a.standing_why, a.standing_since, a.unpaid_since,
       a.ended_since, a.paused_since, a.no_card_since, a.customer_deleted
FROM hopsmeter.stripe_accounts a JOIN hopsmeter.users u ON u.no = a.account_no
WHERE (%(accounts)s::int[] IS NULL OR a.account_no = ANY (%(accounts)s))
  AND (a.standing <> 'good'
       OR num_nonnulls(a.unpaid_since, a.ended_since, a.paused_since, a.no_card_since) > 0)
ORDER BY a.account_no FOR UPDATE OF a SKIP LOCKED;

-- name: still_to_be_told
-- Those of which Stripe is still to be told of a closed day, or that have postings which were not read, whose
-- accounts nobody knows yet. Who is to stop already goes on so meanwhile: each posting would take that back until the
-- next run. Planning it takes longer than doing it, so it is asked of those alone on whom it depends.
SELECT a.account_no
FROM hopsmeter.stripe_accounts a
WHERE a.account_no = ANY (%(accounts)s)
  AND (EXISTS (SELECT FROM hopsmeter.stripe_due(%(oldest)s) d
               WHERE d.account_no = a.account_no AND d.day < %(today)s
                 AND d.reason IN ('to report', 'to move'))
       OR a.parked_at IS NULL
          AND EXISTS (SELECT FROM hopsmeter.stripe_reports r
                      WHERE r.account_no = a.account_no AND r.day < %(today)s
                        AND r.state IN ('due', 'in flight', 'unknown')
                        AND (a.ended_since IS NULL
                             OR EXISTS (SELECT FROM hopsmeter.stripe_left_drafts l
                                        WHERE l.account_no = r.account_no
                                          AND r.day >= l.first AND r.day < l.after)))
       OR a.standing <> 'suspend'
          AND EXISTS (   -- day by day along the index: a year has some ten thousand postings
              SELECT FROM generate_series((SELECT min(day) FROM hopsmeter.postings)::timestamp,
                                          %(today)s::date - interval '1 day', '1 day') d
              WHERE (SELECT max(p.no) FROM hopsmeter.postings p WHERE p.day = d::date)
                    > coalesce((SELECT r.posting_no FROM hopsmeter.stripe_days_read r
                                WHERE r.day = d::date), 0)));

-- name: mark_standing
-- How an account stands, why, and since when.
UPDATE hopsmeter.stripe_accounts
SET standing = %(word)s, standing_why = %(why)s, standing_since = %(since)s
WHERE account_no = %(account)s;

-- name: accounts_to_fetch
-- Accounts that were not fetched of late, the oldest first; before them those that a clock that was ahead left. With
-- when that was; invoices that are not over, those not asked about for the longest first; and, while what began of
-- late took their place, or nobody looked since, the subscriptions before, of which an invoice may be new.
SELECT u.id, u.stripe_customer_id, CASE WHEN a.fetched_at <= %(ahead)s THEN a.fetched_at END,
       ARRAY(SELECT i.id FROM hopsmeter.stripe_invoices i
             WHERE i.account_no = a.account_no AND i.status IN ('draft', 'open', 'uncollectible')
             ORDER BY CASE WHEN i.fetched_at <= %(ahead)s THEN i.fetched_at END NULLS FIRST, i.id
             LIMIT %(asked)s),
       ARRAY(SELECT i.subscription_id FROM hopsmeter.stripe_invoices i
             WHERE i.account_no = a.account_no AND i.subscription_id <> u.stripe_subscription_id
               AND (a.billed_from > %(begun_since)s OR a.fetched_at <= a.billed_from)
             GROUP BY 1 ORDER BY max(i.created_at) DESC LIMIT %(asked)s)
FROM hopsmeter.stripe_accounts a
JOIN hopsmeter.users u ON u.no = a.account_no
WHERE u.stripe_customer_id IS NOT NULL
  AND coalesce(a.fetched_at <= %(before)s OR a.fetched_at > %(ahead)s, true)
ORDER BY CASE WHEN a.fetched_at <= %(ahead)s THEN a.fetched_at END NULLS FIRST, a.account_no LIMIT %(limit)s;

-- name: events_read_to
-- Since when Stripe's events are ours, and up to where its list of them was read; no row before set-up.
SELECT set_up_at, events_read_to FROM hopsmeter.stripe_site;

-- name: set_events_read_to
-- Only ahead: another daemon may have read further. Not so where a clock that was ahead left the mark.
UPDATE hopsmeter.stripe_site SET events_read_to = %(to)s
WHERE coalesce(events_read_to < %(to)s OR events_read_to > %(latest)s, true);

-- name: begin_purchase
-- Write a purchase down before Stripe is asked for its page; nothing where the key is known.
INSERT INTO hopsmeter.stripe_purchases
    (key, account_no, currency, asked_minor, lot_expires_on, created_at, created_by)
VALUES (%(key)s, %(account)s, %(currency)s, %(minor)s, %(expires)s, %(now)s, %(by)s)
ON CONFLICT (key) DO NOTHING RETURNING *;

-- name: purchase_of_key
-- The purchase that a key stands for.
SELECT * FROM hopsmeter.stripe_purchases WHERE key = %(key)s;

-- name: hold_account
-- Nobody else begins a purchase of this account until this ends.
SELECT FROM hopsmeter.users WHERE no = %(account)s FOR NO KEY UPDATE;

-- name: unpaid_purchase
-- The oldest purchase of these terms that is neither paid nor over.
SELECT * FROM hopsmeter.stripe_purchases
WHERE account_no = %(account)s AND currency = %(currency)s AND asked_minor = %(minor)s
  AND lot_expires_on IS NOT DISTINCT FROM %(expires)s AND state IN ('open', 'processing')
ORDER BY id LIMIT 1;

-- name: keep_session
-- The page on which a purchase is paid.
UPDATE hopsmeter.stripe_purchases SET session_id = %(session)s, expires_at = %(until)s
WHERE id = %(id)s AND coalesce(session_id = %(session)s, true);

-- name: purchase_of_session
-- The purchase of a session, held.
SELECT p.*, u.id AS account_id FROM hopsmeter.stripe_purchases p
JOIN hopsmeter.users u ON u.no = p.account_no
WHERE p.session_id = %(session)s FOR UPDATE OF p;

-- name: purchase_without_session
-- The purchase that a session says it is of, where the answer that would have named it was lost.
SELECT p.*, u.id AS account_id FROM hopsmeter.stripe_purchases p
JOIN hopsmeter.users u ON u.no = p.account_no
WHERE p.id = %(purchase)s AND p.session_id IS NULL AND u.stripe_customer_id = %(customer)s
  AND p.currency = %(currency)s AND p.asked_minor = %(minor)s FOR UPDATE OF p;

-- name: another_session
-- A session of ours that no purchase has, of one of our customers.
INSERT INTO hopsmeter.stripe_purchases
    (key, account_no, currency, asked_minor, session_id, created_at, created_by)
SELECT 'session:' || %(session)s, no, %(currency)s, %(minor)s, %(session)s, %(at)s, 'daemon'
FROM hopsmeter.users WHERE stripe_customer_id = %(customer)s AND %(minor)s > 0
ON CONFLICT DO NOTHING;

-- name: keep_purchase
-- A purchase as last fetched; one that is paid stays so.
UPDATE hopsmeter.stripe_purchases
SET state = %(state)s, session_id = %(session)s, payment_intent_id = %(intent)s,
    expires_at = %(until)s, amount_nano = %(amount_nano)s, entry_id = %(entry)s,
    refunded_nano = %(refunded)s, fetched_at = %(at)s
WHERE id = %(id)s;

-- name: entry_of_ref
-- The entry that a key stands for.
SELECT id FROM hopsmeter.ledger_entries WHERE account_no = %(account)s AND ref = %(ref)s;

-- name: lot_of_entry
-- The lot that came with an entry.
SELECT id FROM hopsmeter.credit_lots WHERE entry_id = %(entry)s;

-- name: posted_of_claim
-- What a refund or dispute has taken and not given back, and in how many posts it took: the first under its id,
-- later ones under `id:2`, `id:3` …
SELECT coalesce(-sum(amount_nano), 0)::bigint,
       count(*) FILTER (WHERE amount_nano < 0 AND ref NOT LIKE '%%:arrears')
FROM hopsmeter.ledger_entries
WHERE account_no = %(account)s AND contra = 15
  AND (ref = %(claim)s OR starts_with(ref, %(claim)s || ':'));

-- name: keep_claim
-- A refund or dispute as last fetched.
INSERT INTO hopsmeter.stripe_claims AS c
    (id, purchase_id, kind, minor, status, holds, created_at, fetched_at)
VALUES (%(id)s, %(purchase)s, %(kind)s, %(minor)s, %(status)s, %(holds)s, %(created_at)s, %(at)s)
ON CONFLICT (id) DO UPDATE
SET minor = excluded.minor, status = excluded.status, holds = excluded.holds,
    fetched_at = excluded.fetched_at;

-- name: purchases_to_watch
-- Purchases with a refund that may still fail, or a dispute that is not decided, which nobody asked about of
-- late, or only under a clock that was ahead; those not looked at for the longest first.
SELECT p.*, NULL AS customer_id FROM hopsmeter.stripe_purchases p
WHERE p.state = 'paid' AND (p.fetched_at <= %(before)s OR p.fetched_at > %(ahead)s)
  AND EXISTS (SELECT FROM hopsmeter.stripe_claims c
              WHERE c.purchase_id = p.id
                AND (c.kind = 'refund' AND c.holds AND c.created_at > %(fails_since)s
                     OR c.kind = 'dispute' AND c.status <> ALL (%(decided)s)))
ORDER BY CASE WHEN p.fetched_at <= %(ahead)s THEN p.fetched_at END NULLS FIRST, p.id LIMIT %(limit)s;

-- name: purchases_unseen
-- Purchases of which money may still go back, and which nobody asked about for days, or only under a clock that
-- was ahead; those not looked at for the longest first.
SELECT p.*, NULL AS customer_id FROM hopsmeter.stripe_purchases p
WHERE p.state = 'paid' AND p.created_at > %(bought_since)s
  AND (p.fetched_at <= %(before)s OR p.fetched_at > %(ahead)s)
ORDER BY CASE WHEN p.fetched_at <= %(ahead)s THEN p.fetched_at END NULLS FIRST, p.id LIMIT %(limit)s;

-- name: purchase_unknown
-- A purchase of which Stripe says that it has none.
UPDATE hopsmeter.stripe_purchases SET fetched_at = %(at)s WHERE id = %(id)s;

-- name: open_purchases
-- Purchases that are open since before a moment, or were begun under a clock that was ahead, those not looked
-- at for the longest first.
SELECT p.*, u.stripe_customer_id AS customer_id FROM hopsmeter.stripe_purchases p
JOIN hopsmeter.users u ON u.no = p.account_no
WHERE p.state IN ('open', 'processing') AND (p.created_at <= %(before)s OR p.created_at > %(ahead)s)
ORDER BY CASE WHEN p.fetched_at <= %(ahead)s THEN p.fetched_at END NULLS FIRST, p.id LIMIT %(limit)s;

-- name: standing_of_purchase
-- Where a purchase stands, and how much of it was taken back.
SELECT state, refunded_nano FROM hopsmeter.stripe_purchases WHERE id = %(id)s;

-- name: purchase_lost
-- A purchase that never got a page is none.
UPDATE hopsmeter.stripe_purchases SET state = 'expired', fetched_at = %(now)s
WHERE id = %(id)s AND session_id IS NULL AND state = 'open';

-- name: customers_to_compare
-- Accounts of which something was told lately, with the meter that it was told to.
SELECT a.account_no, u.stripe_customer_id AS customer, m.meter_id, min(r.day) AS first_day
FROM hopsmeter.stripe_accounts a
JOIN hopsmeter.users u ON u.no = a.account_no
JOIN hopsmeter.stripe_meters m ON m.kind = a.meter
JOIN hopsmeter.stripe_reports r ON r.account_no = a.account_no AND r.day >= %(since)s
    AND r.sent_at IS NOT NULL
WHERE u.stripe_customer_id IS NOT NULL
  AND (%(account_no)s::int IS NULL OR a.account_no = %(account_no)s)
GROUP BY a.account_no, u.stripe_customer_id, m.meter_id ORDER BY a.account_no;

-- name: keep_summaries
-- What Stripe says of an account's days; of days that were told, or had something before, and are not listed
-- it says that there is nothing. What was told to a customer before, whose name reports begin with, this one cannot
-- say, and stays as it was fetched last: of a sum meter where any of it was, of a daily one where the last was. What
-- was given up nobody was told.
INSERT INTO hopsmeter.stripe_summaries AS s (account_no, day, units, fetched_at)
SELECT %(account_no)s, k.day, k.units, %(now)s
FROM (SELECT * FROM unnest(%(days)s::date[], %(units)s::bigint[]) AS said (day, units)
      UNION ALL
      SELECT day, 0 FROM (
          SELECT day FROM hopsmeter.stripe_reports
          WHERE account_no = %(account_no)s AND day >= %(since)s AND sent_at IS NOT NULL
          UNION
          SELECT day FROM hopsmeter.stripe_summaries
          WHERE account_no = %(account_no)s AND day >= %(since)s) known
      WHERE day <> ALL (%(days)s::date[])) k
WHERE NOT EXISTS (
    SELECT FROM hopsmeter.stripe_reports r
    WHERE r.account_no = %(account_no)s AND r.day = k.day AND r.sent_at IS NOT NULL AND r.state <> 'given up'
      AND split_part(r.identifier, ':', 1) <> %(customer)s
      AND (r.meter = 'sum'
           OR r.seq = (SELECT max(n.seq) FROM hopsmeter.stripe_reports n
                       WHERE n.account_no = r.account_no AND n.day = r.day AND n.sent_at IS NOT NULL
                         AND n.state <> 'given up')))
ON CONFLICT (account_no, day) DO UPDATE SET units = excluded.units, fetched_at = excluded.fetched_at;

-- name: park_uncounted
-- Reports that Stripe took, and could not count afterwards: their accounts are parked, once for each report. Not for
-- such as a customer was told that was deleted: there is nothing to mend, and who took its place is told as before.
WITH told AS (
    SELECT * FROM unnest(%(identifiers)s::text[], %(codes)s::text[]) AS t (identifier, code)),
marked AS (
    UPDATE hopsmeter.stripe_reports r
    SET error = 'Stripe took it, and could not count it: ' || t.code
    FROM told t
    WHERE r.identifier = t.identifier AND r.state IN ('accepted', 'superseded')
      AND r.error IS NULL
    RETURNING r.account_no, r.day, t.code, split_part(r.identifier, ':', 1) AS customer),
first AS (
    SELECT DISTINCT ON (m.account_no) m.account_no, m.day, m.code
    FROM marked m
    JOIN hopsmeter.stripe_accounts s ON s.account_no = m.account_no AND NOT s.customer_deleted
    JOIN hopsmeter.users o ON o.no = m.account_no AND o.stripe_customer_id = m.customer
    ORDER BY m.account_no, m.day)
UPDATE hopsmeter.stripe_accounts a
SET parked_at = coalesce(a.parked_at, %(now)s),
    parked_why = coalesce(a.parked_why, 'Stripe took the report of ' || f.day || ', and could not count it ('
        || f.code || '); mend that, see `stripe reconcile --fetch`, then `stripe again` and `stripe unpark`')
FROM first f JOIN hopsmeter.users u ON u.no = f.account_no
WHERE a.account_no = f.account_no RETURNING u.id, f.day, a.parked_why;
