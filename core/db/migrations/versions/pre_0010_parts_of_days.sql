-- A day on which one subscription ends and another begins. The code of 0009 goes on while this runs and after it.

-- What an event says where that is not what the report's units come to: of a day that is on the last invoice of
-- the subscription before, what the one after must not bill again is taken off, and no amount moves.
ALTER TABLE hopsmeter.stripe_reports ADD COLUMN value bigint;

-- The days [first, after) that each metered invoice bills. A last one ends within a day, and has that day; the
-- next subscription's invoice has it only where none before does. Cycles end at midnight. The first invoice of a
-- subscription is over a moment, and has no day.
CREATE VIEW hopsmeter.stripe_invoice_days AS
SELECT i.id, i.account_no, i.usage_start, i.usage_end, i.finalized_at, i.compared_at, i.units,
       CASE WHEN i.usage_start < i.usage_end AND EXISTS (
                SELECT FROM hopsmeter.stripe_invoices e
                WHERE e.account_no = i.account_no AND e.units IS NOT NULL
                  AND e.usage_start < e.usage_end AND e.usage_end <= i.usage_start
                  AND e.usage_end > (i.usage_start AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC')
            THEN 1 ELSE 0 END + (i.usage_start AT TIME ZONE 'UTC')::date AS first,
       CASE WHEN i.usage_start < i.usage_end
            THEN (i.usage_end AT TIME ZONE 'UTC' - interval '1 microsecond')::date + 1
            ELSE (i.usage_start AT TIME ZONE 'UTC')::date END AS after
FROM hopsmeter.stripe_invoices i WHERE i.units IS NOT NULL;

-- The metered invoice that a day of an account is on, once that is final.
CREATE OR REPLACE FUNCTION hopsmeter.stripe_final_invoice(account int, on_day date) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT id FROM hopsmeter.stripe_invoice_days
        WHERE account_no = account AND finalized_at IS NOT NULL AND on_day >= first AND on_day < after
        ORDER BY usage_start LIMIT 1);

-- What an account's days come to that are on no final invoice yet: more cannot be taken off there.
CREATE OR REPLACE FUNCTION hopsmeter.stripe_open_nano(account int) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT coalesce(sum(posted_nano + moved_nano), 0)::bigint FROM hopsmeter.stripe_days
        WHERE account_no = account
          AND day >= coalesce((SELECT max(after) FROM hopsmeter.stripe_invoice_days
                               WHERE account_no = account AND finalized_at IS NOT NULL), '-infinity'));

-- Reports of which Stripe has something, with what it has for each: of a daily meter the newest of a day
-- counts, of a sum they add up. One that is `settled` was never sent: under `again …` it says what a person saw
-- that Stripe has, under `late …` that its units are on no invoice, and Stripe has what it had.
CREATE VIEW hopsmeter.stripe_counted AS
SELECT id, account_no, day, seq, meter, units_before, units, identifier, event_at, ended_at,
       CASE meter WHEN 'daily' THEN coalesce(value, units)
                  ELSE coalesce(value, units - units_before) END AS value,
       state = 'settled' AS is_again
FROM hopsmeter.stripe_reports
WHERE state IN ('accepted', 'superseded') AND sent_at IS NOT NULL
   OR state = 'settled' AND identifier NOT LIKE 'late %';

-- What Stripe has of each account's day by what it accepted: its newest report, and when that was.
CREATE VIEW hopsmeter.stripe_accepted AS
SELECT account_no, day,
       CASE max(meter) WHEN 'daily' THEN (array_agg(value ORDER BY seq DESC))[1]
                       ELSE sum(value)::bigint END AS units,
       max(ended_at) AS at, (array_agg(identifier ORDER BY seq DESC))[1] AS identifier
FROM hopsmeter.stripe_counted GROUP BY account_no, day;

-- What Stripe has of an account's day that a subscription bills which began at an instant within it.
CREATE FUNCTION hopsmeter.stripe_value_since(account int, on_day date, since timestamptz) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT coalesce(CASE max(meter)
                        WHEN 'daily' THEN
                            (array_agg(CASE WHEN event_at >= since THEN value ELSE 0 END ORDER BY seq DESC))[1]
                        ELSE sum(value) FILTER (WHERE event_at >= since) END, 0)::bigint
        FROM hopsmeter.stripe_counted WHERE account_no = account AND day = on_day);
