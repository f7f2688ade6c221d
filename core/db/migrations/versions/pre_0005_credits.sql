-- Part 2: credits by hand. The code of 0003 may go on: it calls expire_lot without words.

DROP FUNCTION hopsmeter.expire_lot(int, bigint, date);

-- Posts the expiry of one lot; what is left of it goes, and what returns to it later goes with that.
-- Returns what went. `words` say why, where a person lets it expire before its date.
CREATE FUNCTION hopsmeter.expire_lot(account int, lot bigint, today date, words text DEFAULT NULL)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    amount bigint;
    entry bigint;
BEGIN
    PERFORM hopsmeter.lock_books(account);
    UPDATE hopsmeter.credit_lots SET expired_at = clock_timestamp()
    WHERE id = lot AND account_no = account AND expired_at IS NULL RETURNING remaining_nano INTO amount;
    IF amount IS NULL OR amount = 0 THEN
        RETURN 0;
    END IF;
    entry := hopsmeter.write_entry(account, 1::smallint, 14::smallint, -amount,
                                   hopsmeter.posting_date(today, today), NULL, NULL,
                                   'expiry:' || lot, words, NULL);
    UPDATE hopsmeter.credit_lots SET remaining_nano = 0 WHERE id = lot;
    INSERT INTO hopsmeter.credit_draws VALUES (entry, lot, -amount);
    RETURN amount;
END $$;
