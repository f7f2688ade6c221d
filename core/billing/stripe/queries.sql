-- Stripe: what was set up, whose customers are whose, what was bought.

-- name: currencies_in_use
-- The currencies of accounts and clusters, those that have a price, and those asked for.
SELECT DISTINCT currency FROM (
    SELECT currency FROM hopsmeter.users WHERE currency IS NOT NULL
    UNION SELECT currency FROM hopsmeter.hopsworks_clusters WHERE status <> 'removed'
    UNION SELECT currency FROM hopsmeter.stripe_prices
    UNION SELECT unnest(%(asked)s::text[])) all_of_them
ORDER BY currency;

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

-- name: keep_subscription
-- The same of its subscription.
UPDATE hopsmeter.users SET stripe_subscription_id = %(new)s
WHERE no = %(account)s AND (stripe_subscription_id IS NOT DISTINCT FROM %(old)s
                            OR stripe_subscription_id = %(new)s);

-- name: unpark
-- Let an account be reported again; what Stripe refused is tried again as it stands.
WITH parked AS (
    SELECT account_no, parked_why FROM hopsmeter.stripe_accounts
    WHERE account_no = %(account)s AND parked_at IS NOT NULL FOR UPDATE),
freed AS (
    UPDATE hopsmeter.stripe_accounts s SET parked_at = NULL, parked_why = NULL
    FROM parked p WHERE s.account_no = p.account_no),
again AS (
    UPDATE hopsmeter.stripe_reports r SET state = 'due', error = NULL, next_try_at = now()
    FROM parked p WHERE r.account_no = p.account_no AND r.state = 'refused')
SELECT parked_why FROM parked;

-- name: prices_kept
-- Prices by meter and currency.
SELECT kind || ' ' || currency, price_id FROM hopsmeter.stripe_prices ORDER BY 1;

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
-- it says that there is nothing.
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
ON CONFLICT (account_no, day) DO UPDATE SET units = excluded.units, fetched_at = excluded.fetched_at;

-- name: events_read_to
-- Since when Stripe's events are ours, and up to where its list of them was read; no row before set-up.
SELECT set_up_at, events_read_to FROM hopsmeter.stripe_site;

-- name: set_events_read_to
-- Only ahead: another daemon may have read further.
UPDATE hopsmeter.stripe_site SET events_read_to = %(to)s
WHERE coalesce(events_read_to < %(to)s, true);
