-- A report that Stripe surely does not have, and will not take any more: `given up`. It says what it would have
-- told by its identifier alone; its units and its amount are those of before, and what it was of is due again.
-- Checked row by row from now on: those that are there were checked by the rule of before, which is narrower.
ALTER TABLE hopsmeter.stripe_reports
    DROP CONSTRAINT stripe_reports_state_check,
    ADD CONSTRAINT stripe_reports_state_check CHECK (state IN
        ('due', 'in flight', 'unknown', 'accepted', 'superseded', 'refused', 'settled', 'given up')) NOT VALID;
ALTER TABLE hopsmeter.stripe_reports VALIDATE CONSTRAINT stripe_reports_state_check;
