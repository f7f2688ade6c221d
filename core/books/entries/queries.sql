-- From an entry, or an account's day, down to what made it.

-- name: entry
-- One entry with its names.
SELECT e.id, e.at, e.account_no, coalesce(u.id, 'account ' || e.account_no) AS account,
       coalesce(u.email, '') AS email, coalesce(u.currency, '') AS currency, e.book, e.contra,
       coalesce(b.name, e.book::text) AS book_name, coalesce(c.name, e.contra::text) AS contra_name,
       e.amount_nano, e.posted_on, e.usage_day, e.posting_no, e.ref, e.memo, e.reverses
FROM hopsmeter.ledger_entries e
LEFT JOIN hopsmeter.users u ON u.no = e.account_no
LEFT JOIN hopsmeter.ledger_codes b ON b.code = e.book
LEFT JOIN hopsmeter.ledger_codes c ON c.code = e.contra
WHERE e.id = %(entry)s;

-- name: entries_of_day
-- The entries of an account's day, by posting.
SELECT e.id, e.at, e.book, e.contra, e.amount_nano, e.posted_on, e.posting_no
FROM hopsmeter.account_entries e
WHERE e.account_no = %(account_no)s AND e.usage_day = %(day)s
  AND (%(no)s::int IS NULL OR e.posting_no = %(no)s)
ORDER BY e.posting_no, e.id;

-- name: entries_of_key
-- What was posted with a key: itself, what it repaid, and what it left owing.
SELECT e.id, e.at, e.book, e.contra, e.amount_nano, e.posted_on, 0 AS posting_no
FROM hopsmeter.account_entries e
WHERE e.account_no = %(account_no)s
  AND e.ref IN (%(key)s, %(key)s || ':repaid', %(key)s || ':arrears')
ORDER BY e.id;

-- name: draws
-- Which lots some entries drew from or gave back to; and the lots that they made.
SELECT d.entry_id, l.id AS lot, l.kind, l.expires_on, d.amount_nano, o.ref, false AS is_made
FROM hopsmeter.credit_draws d
JOIN hopsmeter.credit_lots l ON l.id = d.lot_id
LEFT JOIN hopsmeter.ledger_entries o ON o.id = l.entry_id
WHERE d.entry_id = ANY (%(entries)s)
UNION ALL
SELECT l.entry_id, l.id, l.kind, l.expires_on, l.amount_nano, o.ref, true
FROM hopsmeter.credit_lots l
JOIN hopsmeter.ledger_entries o ON o.id = l.entry_id
WHERE l.entry_id = ANY (%(entries)s)
ORDER BY 1, 2;

-- name: trail
-- Who asked for what was posted with a key.
SELECT a.id, a.at, a.actor, a.via, a.action, a.why, a.command_id FROM hopsmeter.audit_log a
WHERE a.subject = 'account ' || %(account)s::text AND a.after ->> 'key' = %(key)s
ORDER BY a.id LIMIT 1;

-- name: has_hours
-- Whether the hours of a posting were kept, which they are not of those of older versions.
SELECT FROM hopsmeter.posted_hours
WHERE hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
  AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC' AND posting_no = %(no)s LIMIT 1;

-- name: moves
-- What a posting changed of the day of some accounts, by namespace and hour: what each allocation was as
-- of the revision that the posting saw, beside what it was as of the posting of that hour before. What
-- did not change is left out. Of many at once, since it reads the day of all.
WITH posted AS MATERIALIZED (
    SELECT p.hour, p.cluster_id, p.revision,
           coalesce((SELECT max(q.revision) FROM hopsmeter.posted_hours q
                     WHERE q.hour = p.hour AND q.cluster_id = p.cluster_id
                       AND q.posting_no < p.posting_no), 0) AS before
    FROM hopsmeter.posted_hours p
    WHERE p.hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND p.hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC' AND p.posting_no = %(no)s),
revisions AS MATERIALIZED (
    SELECT c.*, NULL::text AS replaced_why, NULL::bytea AS raw_sha256
    FROM hopsmeter.current_charges(
        %(day)s::timestamp AT TIME ZONE 'UTC', (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC',
        %(accounts)s::int[]) c
    UNION ALL
    SELECT r.hour, r.cluster_id, r.namespace_id, r.revision, r.kind, r.user_no, r.account_no,
           r.plan_version_id, r.total_nano, r.charge_nano, r.replaced_why, r.raw_sha256
    FROM hopsmeter.replaced_charges r
    WHERE r.hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND r.hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'),
mine AS (
    SELECT DISTINCT account_no AS payer, hour, namespace_id FROM revisions
    WHERE account_no = ANY (%(accounts)s::int[])),
seen AS MATERIALIZED (
    SELECT r.*, m.payer, p.before FROM revisions r JOIN mine m USING (hour, namespace_id)
    JOIN posted p USING (hour, cluster_id) WHERE r.revision <= p.revision),
now AS (
    SELECT DISTINCT ON (payer, hour, namespace_id) * FROM seen
    ORDER BY payer, hour, namespace_id, revision DESC),
before AS (
    SELECT DISTINCT ON (payer, hour, namespace_id) * FROM seen WHERE revision <= before
    ORDER BY payer, hour, namespace_id, revision DESC)
SELECT n.payer AS account_no, c.name AS cluster, s.name AS namespace,
       coalesce(p.project, '') AS project, n.hour,
       CASE WHEN b.account_no = n.payer THEN b.total_nano END AS cost_before_nano,
       CASE WHEN b.account_no = n.payer THEN b.charge_nano END AS charge_before_nano,
       CASE WHEN b.account_no = n.payer THEN vb.words END AS plan_before,
       CASE WHEN n.account_no = n.payer THEN n.total_nano END AS cost_nano,
       CASE WHEN n.account_no = n.payer THEN n.charge_nano END AS charge_nano,
       CASE WHEN n.account_no = n.payer THEN vn.words END AS plan,
       b.revision AS revision_before, n.revision, b.raw_sha256 AS raw_before,
       coalesce(n.raw_sha256, w.raw_sha256) AS raw_sha256,
       (SELECT string_agg(h.replaced_why, '; ' ORDER BY h.revision)
        FROM hopsmeter.replaced_charges h
        WHERE h.hour = n.hour AND h.namespace_id = n.namespace_id
          AND h.revision >= b.revision AND h.revision < n.revision) AS why,
       EXISTS (SELECT FROM hopsmeter.rate_plan_versions v
               WHERE num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                                  v.network_included) > 0
                 AND (v.id = n.plan_version_id AND n.account_no = n.payer
                      OR v.id = b.plan_version_id AND b.account_no = n.payer)) AS shares_free
FROM now n
LEFT JOIN before b ON b.payer = n.payer AND b.hour = n.hour AND b.namespace_id = n.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = n.cluster_id
JOIN hopsmeter.namespaces s ON s.id = n.namespace_id
JOIN hopsmeter.collection_windows w ON w.cluster_id = n.cluster_id AND w.hour = n.hour
LEFT JOIN hopsmeter.plan_words vn ON vn.id = n.plan_version_id
LEFT JOIN hopsmeter.plan_words vb ON vb.id = b.plan_version_id
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = n.cluster_id AND p.namespace = s.name AND p.valid @> n.hour
WHERE (n.account_no = n.payer OR b.account_no = n.payer)
  AND (n.revision, n.account_no, n.charge_nano)
      IS DISTINCT FROM (b.revision, b.account_no, b.charge_nano)
ORDER BY n.payer, c.name, s.name, n.hour;

-- name: charges_of_day
-- What an account's day is charged now, by namespace and hour, with the answer that says so.
SELECT c.name AS cluster, s.name AS namespace, coalesce(p.project, '') AS project, a.hour,
       u.id AS user_id, v.words AS plan, a.total_nano AS cost_nano, a.charge_nano, a.revision,
       w.state, w.raw_sha256, w.posted_no > 0 AS is_posted, w.stored_no <> w.posted_no AS is_pending
FROM hopsmeter.current_charges(
        %(day)s::timestamp AT TIME ZONE 'UTC', (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC',
        ARRAY[%(account_no)s]::int[]) a
JOIN hopsmeter.collection_windows w ON w.cluster_id = a.cluster_id AND w.hour = a.hour
JOIN hopsmeter.hopsworks_clusters c ON c.id = a.cluster_id
JOIN hopsmeter.namespaces s ON s.id = a.namespace_id
JOIN hopsmeter.users u ON u.no = a.user_no
LEFT JOIN hopsmeter.plan_words v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = a.cluster_id AND p.namespace = s.name AND p.valid @> a.hour
WHERE a.account_no = %(account_no)s AND a.kind = 1
ORDER BY c.name, s.name, a.hour;

-- name: replaced_of_day
-- The revisions of an account's day that were replaced, its own and those of what is its own now.
WITH replaced AS (
    SELECT * FROM hopsmeter.replaced_charges
    WHERE hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'),
mine AS (
    SELECT hour, namespace_id FROM replaced WHERE account_no = %(account_no)s
    UNION
    SELECT hour, namespace_id FROM hopsmeter.allocations
    WHERE account_no = %(account_no)s AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC')
SELECT c.name AS cluster, s.name AS namespace, r.hour, r.revision, o.id AS account,
       v.words AS plan, r.total_nano AS cost_nano, r.charge_nano, r.replaced_at,
       r.replaced_why AS why, r.raw_sha256
FROM replaced r JOIN mine m USING (hour, namespace_id)
JOIN hopsmeter.hopsworks_clusters c ON c.id = r.cluster_id
JOIN hopsmeter.namespaces s ON s.id = r.namespace_id
LEFT JOIN hopsmeter.users o ON o.no = r.account_no
LEFT JOIN hopsmeter.plan_words v ON v.id = r.plan_version_id
ORDER BY c.name, s.name, r.hour, r.revision;

-- name: invoice
-- An invoice with the account that it is of, and what counts as told of what it bills.
SELECT i.*, d.first, d.after, coalesce(u.id, 'account ' || i.account_no) AS account,
       coalesce(u.email, '') AS email,
       (SELECT coalesce(sum(c.units), 0)::bigint FROM hopsmeter.stripe_billed_days c
        WHERE c.invoice_id = i.id) AS counted_units
FROM hopsmeter.stripe_invoices i LEFT JOIN hopsmeter.stripe_invoice_days d ON d.id = i.id
LEFT JOIN hopsmeter.users u ON u.no = i.account_no
WHERE i.id = %(invoice)s;

-- name: receivable_of_days
-- What the ledger moved into an account's receivable for some days: by their postings, or by hand on them.
SELECT coalesce(e.usage_day, e.posted_on) AS day, e.id, e.at, e.book, e.contra, e.amount_nano, e.posted_on,
       coalesce(e.posting_no, 0) AS posting_no
FROM hopsmeter.account_entries e
WHERE e.account_no = %(account_no)s
  AND (e.usage_day >= %(first)s AND e.usage_day < %(after)s AND (e.book = 2 OR e.contra = 2)
       OR e.usage_day IS NULL AND e.contra = 2 AND e.posted_on >= %(first)s AND e.posted_on < %(after)s)
ORDER BY 1, e.posting_no, e.id;
