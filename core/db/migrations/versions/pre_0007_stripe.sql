-- Part 3: Stripe. All new, but two indexes and a code: the code of 0006 goes on while this runs and after it.
-- Money: BIGINT nano-units of the account's currency; a unit is what one unit of the meter stands for.

-- What a person settled, where Stripe will never be told: billed elsewhere, or given up.
INSERT INTO hopsmeter.ledger_codes VALUES (17, 'settled');

-- One customer is one account's, and so is a subscription: at most one that counts.
CREATE UNIQUE INDEX users_stripe_customer ON hopsmeter.users (stripe_customer_id);
CREATE UNIQUE INDEX users_stripe_subscription ON hopsmeter.users (stripe_subscription_id);

-- What came into a receivable without being charged for a day (arrears settled): few among many.
CREATE INDEX ledger_entries_moved ON hopsmeter.ledger_entries (posted_on)
    WHERE posting_no IS NULL AND contra = 2;

-- ── what `stripe setup` made or found ───────────────────────────────────────────────────────

-- 'daily': the event received last of a customer's day counts; 'sum': they add up.
CREATE TABLE hopsmeter.stripe_meters (
    kind text PRIMARY KEY CHECK (kind IN ('daily', 'sum')),
    meter_id text NOT NULL UNIQUE,
    event_name text NOT NULL,
    product_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE hopsmeter.stripe_prices (
    kind text NOT NULL REFERENCES hopsmeter.stripe_meters (kind),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    price_id text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, currency)
);
-- Which Stripe account all of it belongs to: another key's answers would mean something else.
CREATE TABLE hopsmeter.stripe_site (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    stripe_account text NOT NULL,
    livemode boolean NOT NULL,
    default_meter text NOT NULL REFERENCES hopsmeter.stripe_meters (kind),
    set_up_at timestamptz NOT NULL DEFAULT now(),
    -- Up to where Stripe's own list of events was read, for those whose delivery was missed.
    events_read_to timestamptz
);

-- ── accounts at Stripe ──────────────────────────────────────────────────────────────────────

-- As last fetched; ids of customer and subscription stand in `users`.
CREATE TABLE hopsmeter.stripe_accounts (
    account_no int PRIMARY KEY REFERENCES hopsmeter.users (no),
    meter text NOT NULL REFERENCES hopsmeter.stripe_meters (kind),
    linked_at timestamptz NOT NULL DEFAULT now(),
    item_id text,
    subscription_status text,           -- Stripe's word
    billed_from timestamptz,            -- usage before it is on no invoice
    period_start timestamptz,           -- of the open cycle
    period_end timestamptz,
    collection_paused boolean NOT NULL DEFAULT false,
    has_card boolean NOT NULL DEFAULT false,
    customer_deleted boolean NOT NULL DEFAULT false,
    fetched_at timestamptz,
    -- R: what is left under a whole unit after the newest report; carried to the next.
    remainder_nano bigint NOT NULL DEFAULT 0 CHECK (remainder_nano >= 0),
    -- Not reported until somebody says so: Stripe refused, and would again.
    parked_at timestamptz,
    parked_why text,
    -- What follows from unpaid invoices, an ended subscription, a card gone.
    unpaid_since timestamptz,
    ended_since timestamptz,
    paused_since timestamptz,
    no_card_since timestamptz,
    standing text NOT NULL DEFAULT 'good' CHECK (standing IN ('good', 'warned', 'suspend')),
    standing_since timestamptz,
    standing_why text NOT NULL DEFAULT '',
    CHECK ((parked_at IS NULL) = (parked_why IS NULL))
);

-- ── what is owed and reported, by account and day ───────────────────────────────────────────

-- posted: what the ledger moved into the receivable for the day. moved: brought here from other days,
-- less what was taken to others or settled by hand. snapshot and units: s and v of the newest report.
CREATE TABLE hopsmeter.stripe_days (
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    day date NOT NULL,
    posted_nano bigint NOT NULL DEFAULT 0,
    moved_nano bigint NOT NULL DEFAULT 0,
    snapshot_nano bigint NOT NULL DEFAULT 0,
    units bigint NOT NULL DEFAULT 0,
    seq int NOT NULL DEFAULT 0,         -- of the newest report; 0: there is none
    due_nano bigint GENERATED ALWAYS AS (posted_nano + moved_nano - snapshot_nano) STORED NOT NULL,
    PRIMARY KEY (account_no, day)
) WITH (fillfactor = 70);
CREATE INDEX stripe_days_due ON hopsmeter.stripe_days (day, account_no)
    WHERE posted_nano + moved_nano <> snapshot_nano;

-- Up to which posting of a day the ledger was added up into `stripe_days`.
CREATE TABLE hopsmeter.stripe_days_read (
    day date PRIMARY KEY,
    posting_no int NOT NULL
);

-- One row per thing said to Stripe about an account's day; written before it is sent.
-- due: to be sent · in flight: somebody sends it · unknown: sent, and no answer came: sent again under the
-- same identifier · accepted: Stripe has it, or there was nothing new to say · superseded: of a daily
-- meter, a newer one of the day was accepted · refused: Stripe will not have it · settled: not sent, a
-- person decided.
CREATE TABLE hopsmeter.stripe_reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    day date NOT NULL,
    seq int NOT NULL CHECK (seq > 0),
    meter text NOT NULL,
    snapshot_nano bigint NOT NULL,      -- s: of the day, when it was made
    units bigint NOT NULL,              -- v: of the day, with this report
    units_before bigint NOT NULL,
    remainder_nano bigint NOT NULL CHECK (remainder_nano >= 0),   -- R, after it
    unit_nano bigint NOT NULL CHECK (unit_nano > 0),
    identifier text NOT NULL UNIQUE,
    event_at timestamptz NOT NULL,      -- the event's own timestamp, within the day
    state text NOT NULL DEFAULT 'due' CHECK (state IN
        ('due', 'in flight', 'unknown', 'accepted', 'superseded', 'refused', 'settled')),
    made_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,                -- the first time
    ended_at timestamptz,
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    error text,
    lease_token uuid,
    lease_until timestamptz,
    entry_id bigint,                    -- what its acceptance posted
    UNIQUE (account_no, day, seq)
);
-- One at a time of an account: the event received last is the one that counts.
CREATE UNIQUE INDEX stripe_reports_one ON hopsmeter.stripe_reports (account_no)
    WHERE state IN ('due', 'in flight', 'unknown', 'refused');
CREATE INDEX stripe_reports_open ON hopsmeter.stripe_reports (next_try_at)
    WHERE state IN ('due', 'in flight', 'unknown');

-- What was taken from one day to another, or settled by hand (no day to go to).
CREATE TABLE hopsmeter.stripe_moves (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    from_day date NOT NULL,
    to_day date CHECK (to_day <> from_day),
    amount_nano bigint NOT NULL CHECK (amount_nano <> 0),
    kind text NOT NULL CHECK (kind IN ('final', 'late', 'by hand', 'settled')),
    ref text NOT NULL,
    invoice_id text,
    entry_id bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by text NOT NULL,
    why text NOT NULL DEFAULT '',
    UNIQUE (account_no, ref),
    CHECK ((to_day IS NULL) = (kind = 'settled'))
);
CREATE INDEX stripe_moves_days ON hopsmeter.stripe_moves (account_no, from_day);
CREATE TRIGGER stripe_moves_append_only BEFORE UPDATE OR DELETE ON hopsmeter.stripe_moves
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER stripe_moves_no_truncate BEFORE TRUNCATE ON hopsmeter.stripe_moves
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- What Stripe says it has, as last fetched.
CREATE TABLE hopsmeter.stripe_summaries (
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    day date NOT NULL,
    units bigint NOT NULL,
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (account_no, day)
);
CREATE TABLE hopsmeter.stripe_invoices (
    id text PRIMARY KEY,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    subscription_id text,
    number text,
    status text NOT NULL,               -- Stripe's word: draft, open, paid, uncollectible, void
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    usage_start timestamptz,            -- [start, end) of the metered line
    usage_end timestamptz,
    units bigint,                       -- its quantity; null: it has no metered line
    line_minor bigint,                  -- what the metered line comes to, in the currency's smallest unit
    total_minor bigint NOT NULL,
    paid_minor bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    finalized_at timestamptz,
    attempted boolean NOT NULL DEFAULT false,
    fetched_at timestamptz NOT NULL,
    compared_at timestamptz             -- its quantity was held against what was accepted for its days
);
CREATE INDEX stripe_invoices_account ON hopsmeter.stripe_invoices (account_no, usage_start);

-- The metered invoice that a day of an account is on, once that is final.
CREATE FUNCTION hopsmeter.stripe_final_invoice(account int, on_day date) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT id FROM hopsmeter.stripe_invoices
        WHERE account_no = account AND finalized_at IS NOT NULL AND units IS NOT NULL
          AND on_day >= (usage_start AT TIME ZONE 'UTC')::date
          AND on_day < (usage_end AT TIME ZONE 'UTC')::date
        ORDER BY usage_start LIMIT 1);

-- What an account's days come to that are on no final invoice yet: more cannot be taken off there.
CREATE FUNCTION hopsmeter.stripe_open_nano(account int) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT coalesce(sum(posted_nano + moved_nano), 0)::bigint FROM hopsmeter.stripe_days
        WHERE account_no = account
          AND day >= coalesce((SELECT max((usage_end AT TIME ZONE 'UTC')::date)
                               FROM hopsmeter.stripe_invoices
                               WHERE account_no = account AND finalized_at IS NOT NULL
                                 AND units IS NOT NULL), '-infinity'));

-- What of each account's day Stripe was not told, and why not: "to report" and "to move" go by themselves,
-- all others are for a person. `oldest`: the first day of which Stripe still takes events.
CREATE FUNCTION hopsmeter.stripe_due(oldest date)
RETURNS TABLE (account_no int, day date, due_nano bigint, reason text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
SELECT d.account_no, d.day, d.due_nano,
       CASE WHEN a.billed_from IS NULL OR u.stripe_subscription_id IS NULL THEN 'not linked'
            WHEN a.ended_since IS NOT NULL OR a.customer_deleted THEN 'ended'
            WHEN a.parked_at IS NOT NULL THEN 'parked'
            WHEN d.day < (a.billed_from AT TIME ZONE 'UTC')::date THEN 'before'
            WHEN hopsmeter.stripe_final_invoice(d.account_no, d.day) IS NOT NULL THEN
                CASE WHEN hopsmeter.stripe_open_nano(d.account_no) + d.due_nano < 0 THEN 'below zero'
                     ELSE 'to move' END
            WHEN d.day < oldest THEN 'too old'
            ELSE 'to report' END
FROM hopsmeter.stripe_days d
JOIN hopsmeter.users u ON u.no = d.account_no
LEFT JOIN hopsmeter.stripe_accounts a ON a.account_no = d.account_no
WHERE d.posted_nano + d.moved_nano <> d.snapshot_nano;
END;

-- ── credits bought ──────────────────────────────────────────────────────────────────────────

-- One row per Checkout session. open · processing: paid by a way that takes days · paid: credited ·
-- failed · expired.
CREATE TABLE hopsmeter.stripe_purchases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,           -- who asks twice under it gets the same session
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    asked_minor bigint NOT NULL CHECK (asked_minor > 0),
    session_id text UNIQUE,
    payment_intent_id text UNIQUE,
    state text NOT NULL DEFAULT 'open'
        CHECK (state IN ('open', 'processing', 'paid', 'failed', 'expired')),
    lot_expires_on date,
    amount_nano bigint,                 -- as paid
    entry_id bigint,
    refunded_nano bigint NOT NULL DEFAULT 0 CHECK (refunded_nano >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz,
    fetched_at timestamptz,
    CHECK ((state = 'paid') = (entry_id IS NOT NULL))
);
CREATE INDEX stripe_purchases_account ON hopsmeter.stripe_purchases (account_no);

-- ── events from outside ─────────────────────────────────────────────────────────────────────

-- Every verified delivery, before it is answered; worked at our pace. No body is kept: it holds secrets of
-- clients, and what it says of a state is fetched anyway.
CREATE TABLE hopsmeter.webhook_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL CHECK (source IN ('stripe', 'auth0')),
    event_id text NOT NULL,
    type text NOT NULL,
    subject text NOT NULL,              -- whom it is about: of one, one event is handled at a time
    created_at timestamptz,             -- by the sender's clock
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deliveries int NOT NULL DEFAULT 1,
    came text NOT NULL DEFAULT 'delivered' CHECK (came IN ('delivered', 'fetched')),
    livemode boolean,
    api_version text,
    about jsonb NOT NULL DEFAULT '{}',  -- ids alone: of the object, its customer, who had it before
    body_sha256 bytea,
    note text,                          -- what is odd of it, for people
    state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'done', 'unknown', 'given up')),
    tries int NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    said text,                          -- what it came to
    error text,
    lease_token uuid,
    lease_until timestamptz,
    UNIQUE (source, event_id)
);
CREATE INDEX webhook_events_due ON hopsmeter.webhook_events (next_try_at) WHERE state = 'due';
CREATE INDEX webhook_events_open ON hopsmeter.webhook_events (state, received_at) WHERE state <> 'done';
CREATE INDEX webhook_events_held ON hopsmeter.webhook_events (subject) WHERE lease_token IS NOT NULL;
