-- Part 2: the ledger. The code of 0002 may go on while this runs and after it: it collects, and what it
-- cannot post any more waits for the new code.
-- Money: BIGINT nano-units of the account's currency.

-- ── accounts: one currency each, and how they pay ───────────────────────────────────────────

-- The currency of an account, from its first cluster or its first credits on; never mixed.
ALTER TABLE hopsmeter.users ADD COLUMN currency text CHECK (currency ~ '^[A-Z]{3}$');

DO $$
DECLARE
    mixed text;
BEGIN
    SELECT string_agg(u.id, ', ') INTO mixed FROM (
        SELECT u.id FROM hopsmeter.user_projects p
        JOIN hopsmeter.users u ON u.no = p.user_no
        JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id
        GROUP BY u.id HAVING count(DISTINCT c.currency) > 1 ORDER BY u.id LIMIT 10) u;
    IF mixed IS NOT NULL THEN
        RAISE EXCEPTION 'An account has one currency, and these users own namespaces on clusters of'
            ' several: %. Give those of one currency to another user (hopsmeter namespace map, from'
            ' their first hour on), then upgrade again.', mixed;
    END IF;
END $$;

UPDATE hopsmeter.users u SET currency = p.currency
FROM (SELECT DISTINCT p.user_no, c.currency FROM hopsmeter.user_projects p
      JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id) p
WHERE p.user_no = u.no;

-- How an account pays, in whole UTC days; where it says nothing, postpaid.
CREATE TABLE hopsmeter.billing_modes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    mode text NOT NULL CHECK (mode IN ('postpaid', 'prepaid', 'hybrid')),
    valid daterange NOT NULL CHECK (NOT isempty(valid)),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    CONSTRAINT billing_modes_one_mode EXCLUDE USING gist (account_no WITH =, valid WITH &&)
);
-- For the mode of an account on a day, which each posting asks for: the other one takes 4 µs for it.
CREATE INDEX billing_modes_account ON hopsmeter.billing_modes (account_no);

-- One row per account that has credits, or a policy about them.
CREATE TABLE hopsmeter.user_credits (
    account_no int PRIMARY KEY REFERENCES hopsmeter.users (no),
    -- What a prepaid account may owe before it is to be suspended; 0 is the policy "stop".
    grace_nano bigint NOT NULL DEFAULT 0 CHECK (grace_nano >= 0),
    low_nano bigint CHECK (low_nano > 0),   -- below it somebody is told; null: nobody is
    low_at timestamptz,                     -- marks: since when it is so
    empty_at timestamptz,
    beyond_at timestamptz                   -- owes more than the policy allows: to be suspended
);

-- ── the ledger ──────────────────────────────────────────────────────────────────────────────

-- 1 to 3 are the books of an account; the others stand for the house's side, which has no row to lock.
CREATE TABLE hopsmeter.ledger_codes (code smallint PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO hopsmeter.ledger_codes VALUES
    (1, 'credits'), (2, 'receivable'), (3, 'arrears'),
    (11, 'revenue'), (12, 'purchases'), (13, 'promotions'), (14, 'expired'), (15, 'refunds'),
    (16, 'stripe');

-- What came into a book less what went out: credits are never negative, what is owed is. Kept beside
-- the entries so that a post locks one short row; `books check` adds them up.
CREATE TABLE hopsmeter.ledger_balances (
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    book smallint NOT NULL CHECK (book BETWEEN 1 AND 3),
    balance_nano bigint NOT NULL DEFAULT 0 CHECK (book <> 1 OR balance_nano >= 0),
    PRIMARY KEY (account_no, book)
) WITH (fillfactor = 50);

-- Whoever there is has three books, from the start: so no post finds none, or has to make them.
CREATE FUNCTION hopsmeter.open_books() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hopsmeter.ledger_balances (account_no, book)
    SELECT no, book FROM opened, generate_series(1, 3) book;
    RETURN NULL;
END $$;
CREATE TRIGGER users_open_books AFTER INSERT ON hopsmeter.users
    REFERENCING NEW TABLE AS opened FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.open_books();
INSERT INTO hopsmeter.ledger_balances (account_no, book)
SELECT no, book FROM hopsmeter.users, generate_series(1, 3) book;

-- An amount that moves into one book of an account (out of it, where negative) against a code, or
-- against another book of the same account. No foreign keys: each row would be looked up three times
-- in the hot path; a balance row, which has them, is locked before an entry is written.
CREATE TABLE hopsmeter.ledger_entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),   -- after the lock: in the order of posting
    amount_nano bigint NOT NULL CHECK (amount_nano <> 0),
    reverses bigint,                                     -- the entry that this one takes back
    account_no int NOT NULL,
    book smallint NOT NULL,
    contra smallint NOT NULL,
    posted_on date NOT NULL,                             -- of which month's statement
    usage_day date,                                      -- of charges, and what follows from them
    posting_no int,
    ref text CHECK (ref <> ''),                          -- of all others: an outside id, or a key
    memo text,
    CHECK (book <> contra),
    CHECK ((usage_day IS NULL) = (posting_no IS NULL)),
    CHECK ((ref IS NULL) = (posting_no IS NOT NULL))
);
-- The two keys that make a second post of the same thing fail, whoever tries it.
CREATE UNIQUE INDEX ledger_entries_posting ON hopsmeter.ledger_entries
    (account_no, usage_day, posting_no, book, contra) WHERE posting_no IS NOT NULL;
CREATE UNIQUE INDEX ledger_entries_ref ON hopsmeter.ledger_entries (account_no, ref)
    WHERE ref IS NOT NULL;
-- For whole months: entries lie almost in the order of their days.
CREATE INDEX ledger_entries_days ON hopsmeter.ledger_entries
    USING brin (usage_day, posted_on) WITH (pages_per_range = 32, autosummarize = on);

-- Credits as they came: one lot per grant, purchase, or charge that went below zero. As for entries,
-- the account stands by the balance row that is locked; `books check` holds lots to their entries.
CREATE TABLE hopsmeter.credit_lots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no int NOT NULL,
    entry_id bigint NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('purchase', 'grant', 'correction')),
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    remaining_nano bigint NOT NULL,
    expires_on date,            -- pays days before this one; null: never expires
    priority smallint NOT NULL DEFAULT 100,
    expired_at timestamptz,     -- its expiry is posted: what returns to it expires at once
    -- For the index of open lots: on the remaining amount itself, each draw would change every index.
    is_open boolean GENERATED ALWAYS AS (remaining_nano > 0) STORED,
    CONSTRAINT credit_lots_remaining CHECK (remaining_nano BETWEEN 0 AND amount_nano)
) WITH (fillfactor = 70);
CREATE INDEX credit_lots_open ON hopsmeter.credit_lots (account_no) WHERE is_open;
CREATE INDEX credit_lots_expiring ON hopsmeter.credit_lots (expires_on) WHERE expired_at IS NULL;

-- Which lots an entry drew from (negative), or gave back to.
CREATE TABLE hopsmeter.credit_draws (
    entry_id bigint NOT NULL,
    lot_id bigint NOT NULL,
    amount_nano bigint NOT NULL CHECK (amount_nano <> 0),
    PRIMARY KEY (entry_id, lot_id)
);
CREATE INDEX credit_draws_lot ON hopsmeter.credit_draws (lot_id);

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON hopsmeter.ledger_entries
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON hopsmeter.ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER credit_draws_append_only BEFORE UPDATE OR DELETE ON hopsmeter.credit_draws
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER credit_draws_no_truncate BEFORE TRUNCATE ON hopsmeter.credit_draws
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- Both sides of every entry: adds up to zero per account, whatever happened.
CREATE VIEW hopsmeter.ledger AS
SELECT e.id, e.at, u.id AS account_id, e.account_no, u.currency, side.code, c.name AS book,
       side.amount_nano, e.posted_on, e.usage_day, e.posting_no, e.ref, e.memo, e.reverses
FROM hopsmeter.ledger_entries e
JOIN hopsmeter.users u ON u.no = e.account_no
CROSS JOIN LATERAL (VALUES (e.book, e.amount_nano), (e.contra, -e.amount_nano))
    AS side (code, amount_nano)
JOIN hopsmeter.ledger_codes c ON c.code = side.code;

-- ── months that are closed, and the statements they froze ───────────────────────────────────

CREATE TABLE hopsmeter.closed_months (
    month date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    closed_at timestamptz NOT NULL DEFAULT now(),
    closed_by text NOT NULL,
    why text NOT NULL DEFAULT ''
);

CREATE TABLE hopsmeter.statements (
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    month date NOT NULL REFERENCES hopsmeter.closed_months (month),
    body jsonb NOT NULL,                -- all figures of the document
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    PRIMARY KEY (account_no, month)
);
CREATE TRIGGER closed_months_append_only BEFORE UPDATE OR DELETE ON hopsmeter.closed_months
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER statements_append_only BEFORE UPDATE OR DELETE ON hopsmeter.statements
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER statements_no_truncate BEFORE TRUNCATE ON hopsmeter.statements
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER closed_months_no_truncate BEFORE TRUNCATE ON hopsmeter.closed_months
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- ── events for the outside: kept until they arrived ─────────────────────────────────────────

CREATE TABLE hopsmeter.outgoing_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    type text NOT NULL,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'delivered', 'given_up', 'unsent')),
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz DEFAULT now(),
    delivered_at timestamptz,
    error text,
    lease_token uuid,
    lease_until timestamptz
);
CREATE INDEX outgoing_events_due ON hopsmeter.outgoing_events (next_try_at) WHERE state = 'due';

-- ── posting ─────────────────────────────────────────────────────────────────────────────────

-- How many entries a posting wrote. A daemon of before this migration does not say it, and so cannot
-- post what would not reach the ledger: its hours wait for the new one.
ALTER TABLE hopsmeter.postings ADD COLUMN entries int NOT NULL DEFAULT 0;
ALTER TABLE hopsmeter.postings ALTER COLUMN entries DROP DEFAULT;

-- What was posted before there was a ledger, by account and day.
SELECT pg_advisory_xact_lock(1752133634);   -- POSTING of core.db.locks
UPDATE hopsmeter.ledger_balances b SET balance_nano = c.owed_nano
FROM (SELECT account_no, -sum(charge_nano)::bigint AS owed_nano FROM hopsmeter.usage_daily
      GROUP BY account_no) c
WHERE b.account_no = c.account_no AND b.book = 2;
WITH charged AS (
    SELECT date, account_no, sum(charge_nano)::bigint AS charge_nano FROM hopsmeter.usage_daily
    GROUP BY date, account_no HAVING sum(charge_nano) <> 0),
opened AS (
    INSERT INTO hopsmeter.postings (day, no, entries)
    SELECT c.date, coalesce((SELECT max(no) FROM hopsmeter.postings WHERE day = c.date), 0) + 1,
           count(*) FROM charged c GROUP BY c.date RETURNING day, no)
INSERT INTO hopsmeter.ledger_entries
    (account_no, book, contra, amount_nano, posted_on, usage_day, posting_no)
SELECT c.account_no, 2, 11, -c.charge_nano, c.date, c.date, o.no
FROM charged c JOIN opened o ON o.day = c.date ORDER BY c.date, c.account_no;

-- On which date a posting stands: the day it is of while that month is open, else the day that runs.
CREATE FUNCTION hopsmeter.posting_date(day date, today date) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN max(month) IS NULL OR day >= max(month) + interval '1 month' THEN day
                    ELSE greatest(today, (max(month) + interval '1 month')::date) END
        FROM hopsmeter.closed_months);

CREATE FUNCTION hopsmeter.mode_on(account int, on_day date) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN coalesce((SELECT mode FROM hopsmeter.billing_modes
                 WHERE account_no = account AND valid @> on_day), 'postpaid');

-- Locks the books of one account and returns what is in the credits and in the arrears. Its credits
-- stand for all three: whoever touches the credits, lots or arrears of an account holds that row, and
-- what only adds to a receivable needs none. So nobody who waits for an account holds what another
-- one waits for; a batch takes its accounts in order.
CREATE FUNCTION hopsmeter.lock_books(account int, OUT credits bigint, OUT arrears bigint)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT balance_nano INTO STRICT credits FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 1 FOR UPDATE;
    SELECT balance_nano INTO STRICT arrears FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 3;
END $$;

-- Writes one entry and both books it touches; returns its number.
CREATE FUNCTION hopsmeter.write_entry(
    account int, to_book smallint, against smallint, amount bigint, on_date date,
    day date, no int, reference text, words text, takes_back bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    written bigint;
BEGIN
    INSERT INTO hopsmeter.ledger_entries
        (account_no, book, contra, amount_nano, posted_on, usage_day, posting_no, ref, memo, reverses)
    VALUES (account, to_book, against, amount, on_date, day, no, reference, words, takes_back)
    RETURNING id INTO written;
    UPDATE hopsmeter.ledger_balances SET balance_nano = balance_nano + amount
    WHERE account_no = account AND book = to_book;
    IF against <= 3 THEN
        UPDATE hopsmeter.ledger_balances SET balance_nano = balance_nano - amount
        WHERE account_no = account AND book = against;
    END IF;
    RETURN written;
END $$;

-- Takes an amount from open lots in the order of use, `first_lot` before all others, and says how
-- much it found. `until_day`: lots that still pay for that day; null takes any that is not expired.
CREATE FUNCTION hopsmeter.draw(account int, entry bigint, amount bigint, first_lot bigint,
                               until_day date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
    first record;
BEGIN
    -- Mostly the first lot holds enough.
    SELECT id, remaining_nano INTO first FROM hopsmeter.credit_lots
    WHERE account_no = account AND is_open
      AND (until_day IS NULL OR expires_on IS NULL OR expires_on > until_day)
    ORDER BY (id = first_lot) DESC NULLS LAST, expires_on NULLS LAST, priority, id LIMIT 1;
    IF first.remaining_nano >= amount THEN
        INSERT INTO hopsmeter.credit_draws VALUES (entry, first.id, -amount);
        UPDATE hopsmeter.credit_lots SET remaining_nano = remaining_nano - amount
        WHERE id = first.id;
        RETURN amount;
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
    SELECT coalesce(sum(part), 0)::bigint INTO found FROM taken;
    RETURN found;
END $$;

-- What is owed as arrears is repaid as soon as there are credits that could pay today: never are both
-- above nothing. (A lot past its date waits for late hours of its own days only.) The books are
-- locked. Returns what was repaid.
CREATE FUNCTION hopsmeter.repay_arrears(account int, today date, on_date date, day date, no int,
                                        reference text, first_lot bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    owed bigint;
    amount bigint;
    entry bigint;
BEGIN
    SELECT -balance_nano INTO owed FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 3;
    IF owed IS NULL OR owed <= 0 THEN
        RETURN 0;
    END IF;
    SELECT least(owed, coalesce(sum(remaining_nano), 0)::bigint) INTO amount   -- least() passes over null
    FROM hopsmeter.credit_lots
    WHERE account_no = account AND is_open
      AND (expires_on IS NULL OR expires_on > today);
    IF amount = 0 THEN
        RETURN 0;
    END IF;
    entry := hopsmeter.write_entry(account, 3::smallint, 1::smallint, amount, on_date, day, no,
                                   reference || ':repaid', NULL, NULL);
    PERFORM hopsmeter.draw(account, entry, amount, first_lot, today);
    RETURN amount;
END $$;

-- Gives an amount back to the lots that the entries of `source` drew from, last used first, and
-- says how much they could take. Uses are a stack: what was given back since is none any more, so
-- that a rise and the same fall leave each lot what it held. Height is what was in use after a draw;
-- of its own part that is left which no later height went below.
CREATE FUNCTION hopsmeter.give_back(account int, entry bigint, amount bigint, source bigint[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    returned bigint;
BEGIN
    WITH moved AS (
        SELECT d.lot_id, -d.amount_nano AS part,
               row_number() OVER in_order AS turn,
               (sum(-d.amount_nano) OVER in_order)::bigint AS height
        FROM hopsmeter.credit_draws d JOIN hopsmeter.credit_lots l ON l.id = d.lot_id
        WHERE d.entry_id = ANY (source)
        WINDOW in_order AS (ORDER BY d.entry_id, l.expires_on NULLS LAST, l.priority, l.id)),
    used AS (
        SELECT lot_id, part, height - part AS bottom,
               min(height) OVER (ORDER BY turn ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
                   AS top
        FROM moved),
    given AS (
        SELECT lot_id, sum(top - greatest(bottom, h.height - amount))::bigint AS part
        FROM used, (SELECT height FROM moved ORDER BY turn DESC LIMIT 1) h
        WHERE used.part > 0 AND top > greatest(bottom, h.height - amount)
        GROUP BY lot_id),
    drawn AS (
        INSERT INTO hopsmeter.credit_draws (entry_id, lot_id, amount_nano)
        SELECT entry, lot_id, part FROM given),
    raised AS (
        UPDATE hopsmeter.credit_lots l SET remaining_nano = l.remaining_nano + g.part
        FROM given g WHERE l.id = g.lot_id)
    SELECT coalesce(sum(part), 0)::bigint INTO returned FROM given;
    RETURN returned;
END $$;

-- Posts what is left in lots whose expiry is posted already. The books are locked.
CREATE FUNCTION hopsmeter.expire_returned(account int, on_date date, day date, no int)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    amount bigint;
    entry bigint;
BEGIN
    SELECT sum(remaining_nano)::bigint INTO amount FROM hopsmeter.credit_lots
    WHERE account_no = account AND is_open AND expired_at IS NOT NULL;
    IF amount IS NULL THEN
        RETURN 0;
    END IF;
    entry := hopsmeter.write_entry(account, 1::smallint, 14::smallint, -amount, on_date, day, no,
                                   NULL, NULL, NULL);
    WITH emptied AS (
        UPDATE hopsmeter.credit_lots l SET remaining_nano = 0
        FROM (SELECT id, remaining_nano FROM hopsmeter.credit_lots
              WHERE account_no = account AND is_open AND expired_at IS NOT NULL) b
        WHERE l.id = b.id RETURNING l.id, b.remaining_nano AS part)
    INSERT INTO hopsmeter.credit_draws (entry_id, lot_id, amount_nano)
    SELECT entry, id, -part FROM emptied;
    RETURN amount;
END $$;

-- Posts that a day of an account with credits is charged `amount` (> 0) less than was posted: it
-- undoes the day from the end. First what stands as receivable, then as arrears (and of those what
-- was repaid goes back to the lots, or the receivable, that repaid it), then the lots that paid, last
-- used first. What is left is a day below nothing: it is a credit, or less receivable.
CREATE FUNCTION hopsmeter.reduce_charge(account int, day date, no int, amount bigint, mode text,
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
    IF mode <> 'prepaid' THEN
        part := greatest(part, rest - arrears - lots);
    END IF;
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

-- Arrears above nothing were repaid before they were taken back: what repaid them gets it back.
CREATE FUNCTION hopsmeter.undo_repayment(account int, day date, no int, on_date date)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    excess bigint;
    moved bigint;
    entry bigint;
BEGIN
    SELECT balance_nano INTO excess FROM hopsmeter.ledger_balances
    WHERE account_no = account AND book = 3;
    IF excess <= 0 THEN
        RETURN;
    END IF;
    SELECT coalesce(sum(amount_nano), 0)::bigint INTO moved FROM hopsmeter.ledger_entries
    WHERE account_no = account AND book = 3 AND contra = 2;
    moved := greatest(least(moved, excess), 0);
    IF moved > 0 THEN
        PERFORM hopsmeter.write_entry(account, 3::smallint, 2::smallint, -moved, on_date, day, no,
                                      NULL, NULL, NULL);
        excess := excess - moved;
    END IF;
    IF excess > 0 THEN
        entry := hopsmeter.write_entry(account, 3::smallint, 1::smallint, -excess, on_date, day, no,
                                       NULL, NULL, NULL);
        IF hopsmeter.give_back(account, entry, excess, ARRAY(
               SELECT id FROM hopsmeter.ledger_entries
               WHERE account_no = account AND book = 3 AND contra = 1 AND id <> entry)) <> excess THEN
            RAISE EXCEPTION 'the arrears of account % were repaid by no lot', account;
        END IF;
    END IF;
END $$;

-- Adds a grant or a purchase: an entry, its lot, and what it repays. The same reference again changes
-- nothing, and says so; a post of something else under it is an error.
CREATE FUNCTION hopsmeter.add_credits(
    account int, against smallint, amount bigint, reference text, today date, expires date,
    rank smallint, words text,
    OUT entry_id bigint, OUT lot_id bigint, OUT repaid_nano bigint, OUT is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
    owed bigint;
    known record;
    on_date date := hopsmeter.posting_date(today, today);
BEGIN
    SELECT -arrears INTO owed FROM hopsmeter.lock_books(account);
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
    UPDATE hopsmeter.ledger_balances SET balance_nano = balance_nano + amount
    WHERE account_no = account AND book = 1;
    INSERT INTO hopsmeter.credit_lots AS l
        (account_no, entry_id, kind, amount_nano, remaining_nano, expires_on, priority)
    VALUES (account, entry_id, CASE against WHEN 12 THEN 'purchase' ELSE 'grant' END, amount, amount,
            expires, rank)
    RETURNING l.id INTO lot_id;
    IF owed > 0 THEN
        repaid_nano := hopsmeter.repay_arrears(account, today, on_date, NULL, NULL, reference, lot_id);
    END IF;
END $$;

-- A reference stands for one post of an account, and for no other.
CREATE FUNCTION hopsmeter.require_same(same boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT same THEN
        RAISE EXCEPTION 'the reference was used for something else'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'ledger_entries_ref';
    END IF;
END $$;

-- Takes credits back (a negative adjustment, a refund): from `own_lot` first, then in the order of
-- use; the rest to arrears where `to_arrears`, else nothing is done and 0 returned.
CREATE FUNCTION hopsmeter.take_credits(
    account int, against smallint, amount bigint, reference text, today date, own_lot bigint,
    to_arrears boolean, words text, takes_back bigint,
    OUT entry_id bigint, OUT taken_nano bigint, OUT arrears_nano bigint, OUT is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
    known bigint;
    is_same boolean;
    held bigint;
    on_date date := hopsmeter.posting_date(today, today);
BEGIN
    SELECT credits INTO held FROM hopsmeter.lock_books(account);
    SELECT sum(-amount_nano)::bigint, bool_and(contra = against) INTO known, is_same
    FROM hopsmeter.ledger_entries
    WHERE account_no = account AND ref IN (reference, reference || ':arrears');
    is_new := known IS NULL;
    IF NOT is_new THEN
        PERFORM hopsmeter.require_same(known = amount AND is_same);
        RETURN;
    END IF;
    -- Of a refund: the purchase that its own lot came with.
    takes_back := coalesce(takes_back, (SELECT l.entry_id FROM hopsmeter.credit_lots l
                                        WHERE l.id = own_lot AND l.account_no = account));
    taken_nano := least(held, amount);
    arrears_nano := amount - taken_nano;
    IF arrears_nano > 0 AND NOT to_arrears THEN
        taken_nano := 0;
        RETURN;
    END IF;
    IF taken_nano > 0 THEN
        entry_id := hopsmeter.write_entry(account, 1::smallint, against, -taken_nano, on_date, NULL,
                                          NULL, reference, words, takes_back);
        IF hopsmeter.draw(account, entry_id, taken_nano, own_lot, NULL) <> taken_nano THEN
            RAISE EXCEPTION 'the lots of account % hold less than its credits', account;
        END IF;
    END IF;
    IF arrears_nano > 0 THEN
        entry_id := coalesce(hopsmeter.write_entry(
            account, 3::smallint, against, -arrears_nano, on_date, NULL, NULL,
            -- The key itself always stands on one entry: it is looked for there.
            CASE WHEN taken_nano > 0 THEN reference || ':arrears' ELSE reference END, words,
            takes_back), entry_id);
    END IF;
END $$;

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
