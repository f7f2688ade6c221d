-- Part 2: the proof. The code of before may go on while this runs and after it: of what it posts, the
-- hours are not kept, and `hopsmeter explain` says so.

-- Which hours a posting brought to the books, and as of which revision: so that an entry leads back to
-- the hours that it came of, a correction to what was replaced, and both for ever.
CREATE TABLE hopsmeter.posted_hours (
    hour timestamptz NOT NULL,
    cluster_id int NOT NULL,            -- its window is locked by the statement that writes this
    posting_no int NOT NULL,            -- of the day that the hour is of
    revision int NOT NULL,              -- of the hour, as the posting saw it
    PRIMARY KEY (hour, cluster_id, posting_no)
);
CREATE TRIGGER posted_hours_append_only BEFORE UPDATE OR DELETE ON hopsmeter.posted_hours
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER posted_hours_no_truncate BEFORE TRUNCATE ON hopsmeter.posted_hours
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();

-- Versions of plans in words: what statements and explanations call them by.
CREATE VIEW hopsmeter.plan_words AS
SELECT id, plan || coalesce(' × ' || trim_scale(factor), ' (rate card)') AS words
FROM hopsmeter.rate_plan_periods;

-- What the allocations in [since, until) are charged, less what is free of those of `accounts`; null
-- where nobody pays.
CREATE FUNCTION hopsmeter.current_charges(since timestamptz, until timestamptz, accounts int[])
RETURNS TABLE (hour timestamptz, cluster_id int, namespace_id int, revision int, kind smallint,
               user_no int, account_no int, plan_version_id int, total_nano bigint,
               charge_nano bigint)
LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
SELECT a.hour, a.cluster_id, a.namespace_id, a.revision, a.kind, a.user_no, a.account_no,
       a.plan_version_id, a.total_nano, hopsmeter.charge_nano(a, v, f)
FROM hopsmeter.allocations a
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.free_parts(since, until, accounts, NULL) f
    ON f.hour = a.hour AND f.namespace_id = a.namespace_id
WHERE a.hour >= since AND a.hour < until;
END;

-- And what every revision of it was charged that was replaced; null too where something was free, which
-- is not kept.
CREATE VIEW hopsmeter.replaced_charges AS
SELECT h.hour, h.cluster_id, h.namespace_id, h.revision, h.kind, h.user_no, h.account_no,
       h.plan_version_id, h.total_nano,
       CASE WHEN num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                              v.network_included) = 0
            THEN hopsmeter.charge_nano(a, v, NULL) END AS charge_nano,
       h.replaced_at, h.replaced_why, h.raw_sha256
FROM hopsmeter.allocation_history h
CROSS JOIN LATERAL jsonb_populate_record(NULL::hopsmeter.allocations, to_jsonb(h)) a
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = h.plan_version_id;

-- From when on the books are open: after the last month that is closed.
CREATE FUNCTION hopsmeter.open_from() RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT (max(month) + interval '1 month')::date FROM hopsmeter.closed_months);

-- On which date a posting stands: the day it is of while that month is open, else the day that runs.
-- Whoever posts asks here, and so waits for a month that is being closed (the lock CLOSING of
-- core.db.locks, shared) before it looks which are: no entry comes into a month behind its closing.
CREATE OR REPLACE FUNCTION hopsmeter.posting_date(day date, today date) RETURNS date
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE AS $$
DECLARE
    open_from date;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1752133637);
    open_from := hopsmeter.open_from();
    RETURN CASE WHEN day >= coalesce(open_from, '-infinity') THEN day
                ELSE greatest(today, open_from) END;
END $$;

-- The entries of some accounts by the two indexes that begin with the account: each is of a posting, or
-- has a reference, and never both.
CREATE VIEW hopsmeter.account_entries AS
SELECT * FROM hopsmeter.ledger_entries WHERE posting_no IS NOT NULL
UNION ALL
SELECT * FROM hopsmeter.ledger_entries WHERE ref IS NOT NULL;

-- An entry as a line of what is frozen with a month: hashed together, any that is changed, added or
-- taken away later shows.
CREATE FUNCTION hopsmeter.entry_text(id bigint, book smallint, contra smallint, amount_nano bigint,
    posted_on date, usage_day date, posting_no int, ref text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN concat_ws('|', id, book, contra, amount_nano, posted_on, coalesce(usage_day::text, ''),
                 coalesce(posting_no::text, ''), coalesce(ref, ''));
