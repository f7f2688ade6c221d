-- The open month of an account. The code of 0012 goes on while this runs and after it: it asks by the same name.

-- What an account's days come to that are on no final invoice yet, and that its subscription bills: more cannot be
-- taken off there. Days before it waited beside, where Stripe's first invoice has no line of usage and bounds nothing:
-- what is owed of them made room that no month has, and what is to be given back of them hid that there was none.
CREATE OR REPLACE FUNCTION hopsmeter.stripe_open_nano(account int) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT coalesce(sum(posted_nano + moved_nano), 0)::bigint FROM hopsmeter.stripe_days
        WHERE account_no = account
          AND day >= coalesce(
              greatest((SELECT max(after) FROM hopsmeter.stripe_invoice_days
                        WHERE account_no = account AND finalized_at IS NOT NULL),
                       (SELECT (billed_from AT TIME ZONE 'UTC')::date FROM hopsmeter.stripe_accounts
                        WHERE account_no = account)),
              '-infinity'));
