-- Refunds and disputes of a purchase, as last fetched: what stands in the ledger is held against them, and those
-- that may still change are looked at again.
CREATE TABLE hopsmeter.stripe_claims (
    id text PRIMARY KEY,
    purchase_id bigint NOT NULL REFERENCES hopsmeter.stripe_purchases (id),
    kind text NOT NULL CHECK (kind IN ('refund', 'dispute')),
    minor bigint NOT NULL CHECK (minor >= 0),
    status text NOT NULL,               -- Stripe's word
    holds boolean NOT NULL,             -- the money is gone
    created_at timestamptz NOT NULL,
    fetched_at timestamptz NOT NULL
);
CREATE INDEX stripe_claims_purchase ON hopsmeter.stripe_claims (purchase_id);
