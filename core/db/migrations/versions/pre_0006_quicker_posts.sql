-- Part 2: posts of the ledger and of daily rows in less time; a payment is one account's; a hybrid day below
-- nothing is a credit, as a prepaid one is. Functions keep their parameters, and all else that they do: the
-- code of before may go on while this runs and after it.

-- In the order of use, so that the next lot of an account is one look, however many it has.
DROP INDEX hopsmeter.credit_lots_open;
CREATE INDEX credit_lots_open ON hopsmeter.credit_lots (account_no, expires_on, priority, id)
    WHERE is_open;

-- By its second column a question can be ordered, which that of the exclusion cannot do: so the planner
-- leaves that one alone, which takes three times as long.
DROP INDEX hopsmeter.billing_modes_account;
CREATE INDEX billing_modes_account ON hopsmeter.billing_modes (account_no, lower(valid));
CREATE OR REPLACE FUNCTION hopsmeter.mode_on(account int, on_day date) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT mode FROM hopsmeter.billing_modes
                 WHERE account_no = account AND valid @> on_day
                 ORDER BY lower(valid) LIMIT 1), 'postpaid');

-- A row of an account's day was looked up three times as it was made, and compared three times with each
-- hour: the first posting of a day took four times as long as the others. Its users have books and its
-- clusters windows, which nobody can take away from them.
ALTER TABLE hopsmeter.usage_daily
    DROP CONSTRAINT usage_daily_user_no_fkey,
    DROP CONSTRAINT usage_daily_account_no_fkey,
    DROP CONSTRAINT usage_daily_cluster_id_fkey;

-- Takes an amount from open lots in the order of use, `first_lot` before all others, and says how
-- much it found. `until_day`: lots that still pay for that day; null takes any that is not expired.
CREATE OR REPLACE FUNCTION hopsmeter.draw(account int, entry bigint, amount bigint, first_lot bigint,
                               until_day date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    taken_nano bigint;
BEGIN
    IF first_lot IS NOT NULL THEN   -- which mostly holds enough
        WITH enough AS (
            UPDATE hopsmeter.credit_lots SET remaining_nano = remaining_nano - amount
            WHERE id = first_lot AND account_no = account AND is_open AND remaining_nano >= amount
              AND (until_day IS NULL OR expires_on IS NULL OR expires_on > until_day)
            RETURNING id)
        INSERT INTO hopsmeter.credit_draws SELECT entry, id, -amount FROM enough;
        IF FOUND THEN
            RETURN amount;
        END IF;
    END IF;
    WITH open AS (
        SELECT id, remaining_nano,
               (sum(remaining_nano) OVER (ORDER BY (id = first_lot) DESC NULLS LAST,
                                          expires_on NULLS LAST, priority, id))::bigint
                   - remaining_nano AS before
        FROM hopsmeter.credit_lots
        WHERE account_no = account AND is_open
          AND (until_day IS NULL OR expires_on IS NULL OR expires_on > until_day)),
    taken AS (
        SELECT id, least(remaining_nano, amount - before) AS part FROM open WHERE before < amount),
    drawn AS (
        INSERT INTO hopsmeter.credit_draws (entry_id, lot_id, amount_nano)
        SELECT entry, id, -part FROM taken),
    reduced AS (
        UPDATE hopsmeter.credit_lots l SET remaining_nano = l.remaining_nano - t.part
        FROM taken t WHERE l.id = t.id)
    SELECT coalesce(sum(part), 0)::bigint INTO taken_nano FROM taken;
    RETURN taken_nano;
END $$;

-- Adds a grant or a purchase: an entry, its lot, and what it repays. The same reference again changes
-- nothing, and says so; a post of something else under it is an error.
CREATE OR REPLACE FUNCTION hopsmeter.add_credits(
    account int, against smallint, amount bigint, reference text, today date, expires date,
    rank smallint, words text,
    OUT entry_id bigint, OUT lot_id bigint, OUT repaid_nano bigint, OUT is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
    held bigint;
    owes boolean;
    known record;
    on_date date := hopsmeter.posting_date(today, today);
BEGIN
    SELECT balance_nano INTO STRICT held FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 1 FOR UPDATE;
    INSERT INTO hopsmeter.ledger_entries AS e
        (account_no, book, contra, amount_nano, posted_on, ref, memo)
    VALUES (account, 1, against, amount, on_date, reference, words)
    ON CONFLICT (account_no, ref) WHERE ref IS NOT NULL DO NOTHING
    RETURNING e.id INTO entry_id;
    is_new := entry_id IS NOT NULL;
    repaid_nano := 0;
    IF NOT is_new THEN
        SELECT e.id, e.contra, e.amount_nano, l.id AS lot, l.expires_on INTO known
        FROM hopsmeter.ledger_entries e LEFT JOIN hopsmeter.credit_lots l ON l.entry_id = e.id
        WHERE e.account_no = account AND e.ref = reference;
        PERFORM hopsmeter.require_same(
            (known.contra, known.amount_nano, known.expires_on)
            IS NOT DISTINCT FROM (against, amount, expires));
        entry_id := known.id;
        lot_id := known.lot;
        RETURN;
    END IF;
    WITH booked AS (
        UPDATE hopsmeter.ledger_balances SET balance_nano = balance_nano + amount
        WHERE account_no = account AND book = 1)
    INSERT INTO hopsmeter.credit_lots AS l
        (account_no, entry_id, kind, amount_nano, remaining_nano, expires_on, priority)
    VALUES (account, entry_id, CASE against WHEN 12 THEN 'purchase' ELSE 'grant' END, amount, amount,
            expires, rank)
    RETURNING l.id, (SELECT balance_nano < 0 FROM hopsmeter.ledger_balances
                     WHERE account_no = account AND book = 3) INTO lot_id, owes;
    IF owes THEN
        repaid_nano := hopsmeter.repay_arrears(account, today, on_date, NULL, NULL, reference, lot_id);
    END IF;
END $$;

-- Takes credits back (a negative adjustment, a refund): from `own_lot` first, then in the order of
-- use; the rest to arrears where `to_arrears`, else nothing is done and 0 returned.
CREATE OR REPLACE FUNCTION hopsmeter.take_credits(
    account int, against smallint, amount bigint, reference text, today date, own_lot bigint,
    to_arrears boolean, words text, takes_back bigint,
    OUT entry_id bigint, OUT taken_nano bigint, OUT arrears_nano bigint, OUT is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
    known bigint;
    is_same boolean;
    first_book smallint;
    first_part bigint;
    next_lot bigint;
    on_date date := hopsmeter.posting_date(today, today);
BEGIN
    SELECT least(balance_nano, amount) INTO STRICT taken_nano FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 1 FOR UPDATE;
    arrears_nano := amount - taken_nano;
    -- The key itself always stands on one entry, of what was taken where anything was: it is looked
    -- for there.
    first_book := CASE WHEN taken_nano > 0 THEN 1 ELSE 3 END;
    first_part := CASE WHEN taken_nano > 0 THEN taken_nano ELSE arrears_nano END;
    -- Of a refund: the purchase that its own lot came with.
    IF own_lot IS NOT NULL AND takes_back IS NULL THEN
        SELECT l.entry_id INTO takes_back FROM hopsmeter.credit_lots l
        WHERE l.id = own_lot AND l.account_no = account;
    END IF;
    IF arrears_nano = 0 OR to_arrears THEN
        INSERT INTO hopsmeter.ledger_entries AS e
            (account_no, book, contra, amount_nano, posted_on, ref, memo, reverses)
        VALUES (account, first_book, against, -first_part, on_date, reference, words, takes_back)
        ON CONFLICT (account_no, ref) WHERE ref IS NOT NULL DO NOTHING
        RETURNING e.id INTO entry_id;
    END IF;
    IF entry_id IS NULL THEN
        SELECT sum(-amount_nano)::bigint, bool_and(contra = against) INTO known, is_same
        FROM hopsmeter.ledger_entries
        WHERE account_no = account AND ref IN (reference, reference || ':arrears');
        is_new := known IS NULL;
        IF is_new THEN
            taken_nano := 0;
        ELSE
            PERFORM hopsmeter.require_same(known = amount AND is_same);
            taken_nano := NULL;
            arrears_nano := NULL;
        END IF;
        RETURN;
    END IF;
    is_new := true;
    UPDATE hopsmeter.ledger_balances SET balance_nano = balance_nano - first_part
    WHERE account_no = account AND book = first_book;
    IF taken_nano > 0 THEN
        IF own_lot IS NULL THEN   -- mostly the lot that is next holds enough
            SELECT id INTO next_lot FROM (
                SELECT id, remaining_nano FROM hopsmeter.credit_lots
                WHERE account_no = account AND is_open
                ORDER BY expires_on, priority, id LIMIT 1) first
            WHERE remaining_nano >= taken_nano;
        END IF;
        IF next_lot IS NOT NULL THEN
            WITH drawn AS (
                INSERT INTO hopsmeter.credit_draws VALUES (entry_id, next_lot, -taken_nano))
            UPDATE hopsmeter.credit_lots SET remaining_nano = remaining_nano - taken_nano
            WHERE id = next_lot;
        ELSIF hopsmeter.draw(account, entry_id, taken_nano, own_lot, NULL) <> taken_nano THEN
            RAISE EXCEPTION 'the lots of account % hold less than its credits', account;
        END IF;
        IF arrears_nano > 0 THEN
            entry_id := hopsmeter.write_entry(
                account, 3::smallint, against, -arrears_nano, on_date, NULL, NULL,
                reference || ':arrears', words, takes_back);
        END IF;
    END IF;
END $$;

-- A payment is credited to one account.
CREATE UNIQUE INDEX ledger_entries_payment ON hopsmeter.ledger_entries (ref) WHERE contra = 12;

-- Posts that a day of an account with credits is charged `amount` (> 0) less than was posted: it
-- undoes the day from the end. First what stands as receivable, then as arrears (and of those what
-- was repaid goes back to the lots, or the receivable, that repaid it), then the lots that paid, last
-- used first. What is left is a day below nothing: it is a credit. (`mode` decided
-- about that in 0003, and decides nothing any more.)
CREATE OR REPLACE FUNCTION hopsmeter.reduce_charge(account int, day date, no int, amount bigint, mode text,
                                        on_date date, today date) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    rest bigint := amount;
    part bigint;
    entry bigint;
    receivable bigint;   -- of the day: what it owes, or is billed
    arrears bigint;
    lots bigint;         -- what lots paid for it
    payments bigint[];   -- the entries that they did it with
BEGIN
    PERFORM hopsmeter.lock_books(account);
    SELECT greatest(-sum(amount_nano) FILTER (WHERE book = 2), 0)::bigint,
           greatest(-sum(amount_nano) FILTER (WHERE book = 3), 0)::bigint,
           coalesce(array_agg(id) FILTER (WHERE book = 1), '{}')
    INTO receivable, arrears, payments FROM hopsmeter.ledger_entries
    WHERE account_no = account AND usage_day = day AND posting_no IS NOT NULL AND contra = 11;
    -- By their draws: an entry of a day below nothing made a lot, and no lot paid less for it.
    SELECT coalesce(-sum(amount_nano), 0)::bigint INTO lots
    FROM hopsmeter.credit_draws WHERE entry_id = ANY (payments);
    part := least(rest, receivable);
    IF part > 0 THEN
        PERFORM hopsmeter.write_entry(account, 2::smallint, 11::smallint, part, on_date, day, no,
                                      NULL, NULL, NULL);
        rest := rest - part;
    END IF;
    part := least(rest, arrears);
    IF part > 0 THEN
        PERFORM hopsmeter.write_entry(account, 3::smallint, 11::smallint, part, on_date, day, no,
                                      NULL, NULL, NULL);
        rest := rest - part;
        PERFORM hopsmeter.undo_repayment(account, day, no, on_date);
    END IF;
    IF rest > 0 THEN
        entry := hopsmeter.write_entry(account, 1::smallint, 11::smallint, rest, on_date, day, no,
                                       NULL, NULL, NULL);
        part := hopsmeter.give_back(account, entry, rest, payments);
        IF rest > part THEN
            INSERT INTO hopsmeter.credit_lots
                (account_no, entry_id, kind, amount_nano, remaining_nano)
            VALUES (account, entry, 'correction', rest - part, rest - part);
        END IF;
    END IF;
    PERFORM hopsmeter.expire_returned(account, on_date, day, no);
    PERFORM hopsmeter.repay_arrears(account, today, on_date, day, no, NULL, NULL);
END $$;
