-- Invoices that a person decides about. All new: the code of 0010 goes on while this runs and after it.

-- What a person said of an invoice: that it was put right in Stripe, by a credit note or a refund. It holds for the
-- invoice as it was then; where that changes, it is listed again. `twice`: another invoice bills its days as well;
-- `differs`: it bills something else than its days count, or another amount than its units come to.
CREATE TABLE hopsmeter.stripe_put_right (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id text NOT NULL REFERENCES hopsmeter.stripe_invoices (id),
    what text NOT NULL CHECK (what IN ('twice', 'differs')),
    status text NOT NULL,
    units bigint NOT NULL,
    line_minor bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by text NOT NULL,
    why text NOT NULL
);
CREATE INDEX stripe_put_right_invoice ON hopsmeter.stripe_put_right (invoice_id);
CREATE TRIGGER stripe_put_right_append_only BEFORE UPDATE OR DELETE ON hopsmeter.stripe_put_right
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER stripe_put_right_no_truncate BEFORE TRUNCATE ON hopsmeter.stripe_put_right
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- The invoices that a person put right, as they are now.
CREATE VIEW hopsmeter.stripe_put_right_now AS
SELECT DISTINCT p.invoice_id, p.what
FROM hopsmeter.stripe_put_right p JOIN hopsmeter.stripe_invoices i ON i.id = p.invoice_id
WHERE (p.status, p.units, p.line_minor) IS NOT DISTINCT FROM (i.status, i.units, i.line_minor);

-- What an invoice bills of the day on which its subscription began, where the last invoice of the one before has
-- that day: counted with the day, and billed beside its invoice.
ALTER TABLE hopsmeter.stripe_invoices
    ADD COLUMN beside_day date,
    ADD COLUMN beside_units bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT stripe_invoices_beside CHECK ((beside_day IS NULL) = (beside_units = 0));
CREATE INDEX stripe_invoices_beside_day ON hopsmeter.stripe_invoices (account_no, beside_day)
    WHERE beside_units <> 0;

-- What counts as told of each day that a metered invoice bills, as far as it is to bill it.
CREATE VIEW hopsmeter.stripe_billed_days AS
SELECT i.id AS invoice_id, i.account_no, d.day,
       (d.units - coalesce((SELECT sum(b.beside_units) FROM hopsmeter.stripe_invoices b
                            WHERE b.account_no = d.account_no AND b.beside_day = d.day
                              AND b.beside_units <> 0), 0))::bigint AS units,
       false AS is_beside
FROM hopsmeter.stripe_invoice_days i
JOIN hopsmeter.stripe_days d ON d.account_no = i.account_no AND d.day >= i.first AND d.day < i.after
UNION ALL
SELECT id, account_no, beside_day, beside_units, true FROM hopsmeter.stripe_invoices
WHERE beside_units <> 0;
