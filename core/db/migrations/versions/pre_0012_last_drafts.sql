-- What a subscription that ended with a cycle leaves: a last invoice that is a draft for some hours or days, and until
-- it is final usage of its days counts. The code of 0011 goes on while this runs and after it: it tells nothing of
-- them, so what it lists as to be reported is told by the code of after it.

-- Drafts over a whole cycle of subscriptions that ended with it or since, with the days [first, after) of each. Only
-- such as the last look at their account still found: who deletes a draft at Stripe tells nobody. Cycles end at 00:00
-- UTC. A draft that ends within a day is of one that was cancelled at once: whether that takes usage nobody knows.
CREATE VIEW hopsmeter.stripe_left_drafts AS
SELECT i.account_no, i.id, d.first, d.after, i.usage_start
FROM hopsmeter.stripe_invoices i
JOIN hopsmeter.stripe_accounts a ON a.account_no = i.account_no
JOIN hopsmeter.stripe_invoice_days d ON d.id = i.id
WHERE i.status = 'draft' AND i.finalized_at IS NULL AND NOT a.customer_deleted
  AND i.fetched_at >= a.fetched_at
  AND i.usage_end <= coalesce(a.ended_since, a.billed_from)
  AND (i.usage_end AT TIME ZONE 'UTC')::time = '00:00';

-- What of each account's day Stripe was not told, and why not: "to report" and "to move" go by themselves,
-- all others are for a person. `oldest`: the first day of which Stripe still takes events.
CREATE OR REPLACE FUNCTION hopsmeter.stripe_due(oldest date)
RETURNS TABLE (account_no int, day date, due_nano bigint, reason text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT d.account_no, d.day, d.due_nano,
       CASE WHEN a.billed_from IS NULL OR u.stripe_subscription_id IS NULL THEN 'not linked'
            WHEN (a.ended_since IS NOT NULL OR a.customer_deleted) AND NOT t.takes THEN 'ended'
            WHEN a.parked_at IS NOT NULL THEN 'parked'
            WHEN d.day < (a.billed_from AT TIME ZONE 'UTC')::date AND NOT t.takes THEN 'before'
            WHEN hopsmeter.stripe_final_invoice(d.account_no, d.day) IS NOT NULL THEN
                CASE WHEN hopsmeter.stripe_open_nano(d.account_no) + d.due_nano < 0 THEN 'below zero'
                     ELSE 'to move' END
            WHEN d.day < oldest THEN 'too old'
            ELSE 'to report' END
FROM hopsmeter.stripe_days d
JOIN hopsmeter.users u ON u.no = d.account_no
LEFT JOIN hopsmeter.stripe_accounts a ON a.account_no = d.account_no
CROSS JOIN LATERAL (   -- no subscription of now bills it, and a draft of one before still takes it
    SELECT d.day >= oldest
           AND EXISTS (SELECT FROM hopsmeter.stripe_left_drafts l
                       WHERE l.account_no = d.account_no AND d.day >= l.first AND d.day < l.after)
           AND hopsmeter.stripe_final_invoice(d.account_no, d.day) IS NULL AS takes) t
WHERE d.posted_nano + d.moved_nano <> d.snapshot_nano;
END;
