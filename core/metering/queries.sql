-- The whole behaviour of metering on one page. Parameters by name; nothing here works on one row
-- where a set will do.

-- name: clusters_to_open
-- Clusters and the hours that they have no row for yet, newest closed hour last.
SELECT c.id, c.status, c.status_why,
       greatest(c.metering_since, coalesce(m.newest + interval '1 hour', c.metering_since)) AS since
FROM hopsmeter.hopsworks_clusters c
LEFT JOIN LATERAL (
    SELECT max(hour) AS newest FROM hopsmeter.collection_windows w WHERE w.cluster_id = c.id) m
    ON true
WHERE c.status <> 'removed'
  AND greatest(c.metering_since, coalesce(m.newest + interval '1 hour', c.metering_since))
      <= %(newest)s
ORDER BY c.id;

-- name: ensure_partitions
-- Partitions for each month from `since` to `until`.
SELECT hopsmeter.ensure_partitions(month)
FROM generate_series(date_trunc('month', %(since)s::timestamptz, 'UTC'), %(until)s,
                     interval '1 month') month;

-- name: first_metered
-- The first hour that any cluster was ever metered in.
SELECT min(metering_since) FROM hopsmeter.hopsworks_clusters;

-- name: lock_partitions
-- What whoever makes a partition takes first; to drop one before it would be a deadlock.
SELECT pg_advisory_xact_lock(hashtext('hopsmeter.partitions'));

-- name: old_raw_months
-- Months that have raw answers and ended before an instant, of which no hour waits for a person.
SELECT m.month FROM (
    SELECT to_date(right(c.relname, 7), 'YYYY_MM')::timestamp AT TIME ZONE 'UTC' AS month
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'hopsmeter.raw_answers'::regclass) m
WHERE m.month + interval '1 month' <= %(before)s
  AND EXISTS (SELECT FROM hopsmeter.raw_answers r
              WHERE r.hour >= m.month AND r.hour < m.month + interval '1 month')
  AND NOT EXISTS (SELECT FROM hopsmeter.collection_windows w
                  WHERE w.hour >= m.month AND w.hour < m.month + interval '1 month'
                    AND w.pending_sha256 IS NOT NULL AND w.state <> 'gap')
ORDER BY m.month;

-- name: opened_cluster
-- A cluster as it stays until its hours are opened; none while somebody changes it, or once it was
-- removed. Before partitions are made, as a first store takes them.
SELECT id FROM hopsmeter.hopsworks_clusters
WHERE id = %(cluster_id)s AND status <> 'removed' FOR SHARE SKIP LOCKED;

-- name: open_windows
-- One row for each hour of one cluster; a paused cluster's are waived, with the reason.
INSERT INTO hopsmeter.collection_windows (cluster_id, hour, state, why, next_try_at)
SELECT %(cluster_id)s, hour,
       CASE WHEN %(paused)s THEN 'waived' ELSE 'due' END,
       %(why)s,
       CASE WHEN %(paused)s THEN NULL ELSE hour + interval '1 hour' END
FROM generate_series(%(since)s::timestamptz, %(until)s, interval '1 hour') hour
ON CONFLICT DO NOTHING;

-- name: waive_missing
-- Hours of one cluster that are not in the books, for good.
UPDATE hopsmeter.collection_windows
SET state = 'waived', next_try_at = NULL, why = %(why)s, pending_sha256 = NULL
WHERE cluster_id = %(cluster_id)s AND revision = 0 AND state IN ('due', 'failed', 'refused');

-- name: end_asking
-- Nothing of one cluster is asked for again: what was to be read once more is settled as it is.
UPDATE hopsmeter.collection_windows
SET next_try_at = NULL, lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL,
    state = CASE WHEN state = 'collected' THEN 'settled' ELSE state END,
    settled_at = CASE WHEN state = 'collected' THEN %(now)s ELSE settled_at END,
    pending_sha256 = CASE WHEN state = 'collected' THEN NULL ELSE pending_sha256 END,
    flags = CASE WHEN state = 'collected' AND 'not-read-again' <> ALL (flags)
                 THEN array_append(flags, 'not-read-again') ELSE flags END
WHERE cluster_id = %(cluster_id)s
  AND (next_try_at IS NOT NULL OR lease_token IS NOT NULL OR state = 'collected');

-- name: frozen_owners
-- Leases that ended: read plainly, since a frozen owner holds its row locks for ever.
SELECT lease_pid, lease_by, lease_until FROM hopsmeter.collection_windows
WHERE lease_until < clock_timestamp() AND lease_pid IS NOT NULL
GROUP BY lease_pid, lease_by, lease_until;

-- name: end_backend
-- End the backend of a lease that ended, if it still is the one that took it.
SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
WHERE pid = %(pid)s AND application_name = %(name)s AND pid <> pg_backend_pid()
  AND datname = current_database() AND usename = current_user AND xact_start < %(until)s;

-- name: end_namesakes
-- End backends that an earlier process of this daemon left behind.
SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
WHERE application_name = %(name)s AND datname = current_database() AND usename = current_user
  AND pid <> pg_backend_pid();

-- name: free_own
-- Its claimed hours are due again, at once.
UPDATE hopsmeter.collection_windows
SET lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE lease_by = %(name)s;

-- name: free_lost
-- The same for a few clusters, whose visits ended without a word.
UPDATE hopsmeter.collection_windows
SET lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE lease_by = %(name)s AND cluster_id = ANY (%(clusters)s);

-- name: clusters_with_work
-- Clusters with an hour to ask for, the one that waits longest first.
SELECT c.id, c.name, min(w.hour) AS oldest, count(*) AS waiting
FROM hopsmeter.collection_windows w JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE w.next_try_at <= %(now)s AND c.status = 'active'
  AND (c.next_visit_at IS NULL OR c.next_visit_at <= %(now)s)
  AND (w.lease_until IS NULL OR w.lease_until < clock_timestamp())
GROUP BY c.id, c.name
ORDER BY min(w.next_try_at), c.id
LIMIT %(limit)s;

-- name: claim
-- Take the oldest hours of one cluster that are due, for as long as the lease runs.
WITH mine AS MATERIALIZED (
    SELECT cluster_id, hour FROM hopsmeter.collection_windows
    WHERE cluster_id = %(cluster_id)s AND next_try_at <= %(now)s
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
    ORDER BY hour LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
UPDATE hopsmeter.collection_windows w
SET lease_token = gen_random_uuid(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
    lease_pid = %(pid)s, lease_by = %(name)s, tries = w.tries + 1
FROM mine, hopsmeter.hopsworks_clusters c
WHERE w.cluster_id = mine.cluster_id AND w.hour = mine.hour AND c.id = w.cluster_id
RETURNING w.cluster_id, c.name, w.hour, w.lease_token, w.tries, w.revision, w.raw_sha256,
          w.lease_pid;

-- name: claim_hour
-- Take one hour that a person decides about, whether it is due or not.
UPDATE hopsmeter.collection_windows w
SET lease_token = gen_random_uuid(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
    lease_pid = pg_backend_pid(), lease_by = %(name)s
FROM hopsmeter.hopsworks_clusters c
WHERE w.cluster_id = %(cluster_id)s AND w.hour = %(hour)s AND c.id = w.cluster_id
  AND (w.lease_until IS NULL OR w.lease_until < clock_timestamp())
RETURNING w.cluster_id, c.name, w.hour, w.lease_token, w.tries, w.revision, w.raw_sha256,
          w.lease_pid;

-- name: renew_pid
-- Say which backend stores, where it is not the one that the claim named.
UPDATE hopsmeter.collection_windows SET lease_pid = pg_backend_pid(), lease_by = %(name)s
WHERE (cluster_id, hour) IN (SELECT * FROM unnest(%(clusters)s::int[], %(hours)s::timestamptz[]))
  AND lease_token = ANY (%(tokens)s::uuid[]) AND lease_until > clock_timestamp();

-- name: release
-- Give claimed hours back untouched; the try does not count.
UPDATE hopsmeter.collection_windows
SET lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL,
    tries = greatest(tries - 1, 0)
WHERE (cluster_id, hour) IN (SELECT * FROM unnest(%(clusters)s::int[], %(hours)s::timestamptz[]))
  AND lease_token = ANY (%(tokens)s::uuid[]);

-- name: lock_claimed
-- The claimed windows as they stand now, and the epoch of ownership that the store will freeze in.
SELECT w.lease_token, w.revision, w.raw_sha256,
       (SELECT epoch FROM hopsmeter.ownership_epoch)
FROM hopsmeter.collection_windows w
WHERE (w.cluster_id, w.hour) IN (SELECT * FROM unnest(%(clusters)s::int[], %(hours)s::timestamptz[]))
  AND w.lease_token = ANY (%(tokens)s::uuid[]) AND w.lease_until > clock_timestamp()
ORDER BY w.cluster_id, w.hour
FOR UPDATE;

-- name: sources
-- Of which OpenCost these clusters' answers were until now; locked, so that it stays so.
SELECT id, opencost_cluster_id FROM hopsmeter.hopsworks_clusters
WHERE id = ANY (%(ids)s) ORDER BY id FOR NO KEY UPDATE;

-- name: keep_sources
-- The first answer that is stored tells, in the same transaction.
UPDATE hopsmeter.hopsworks_clusters c SET opencost_cluster_id = k.source
FROM unnest(%(ids)s::int[], %(sources)s::text[]) AS k (id, source)
WHERE c.id = k.id AND c.opencost_cluster_id IS NULL;

-- name: keep_raw
-- Keep raw answers; one that was refused or held before and is stored now changes its verdict.
INSERT INTO hopsmeter.raw_answers AS r
    (hour, cluster_id, sha256, size_bytes, body, asked_at, verdict)
SELECT * FROM unnest(
    %(hours)b::timestamptz[], %(clusters)b::int[], %(hashes)b::bytea[], %(sizes)b::int[],
    %(bodies)b::bytea[], %(asked)b::timestamptz[], %(verdicts)b::text[])
ON CONFLICT (hour, cluster_id, sha256) DO UPDATE SET verdict = excluded.verdict
WHERE r.verdict <> 'stored';

-- name: forget_raw
-- A refused hour keeps its last distinct answer only.
DELETE FROM hopsmeter.raw_answers
WHERE hour = %(hour)s AND cluster_id = %(cluster_id)s AND verdict <> 'stored'
  AND sha256 <> %(keep)s;

-- name: finish
-- The transaction's last word: raw answers kept, and each window's new state, only for whoever
-- still holds the lease. One statement, since each costs a round trip in every store, and all but
-- the bodies as JSON, since sixteen arrays cost the client more than the update costs the server.
-- The limit is how many there are: the planner takes JSON for a hundred rows and would read all of
-- a smaller table for one.
WITH ends AS MATERIALIZED (
    SELECT k.*, k.unnest AS body
    FROM ROWS FROM (
        json_to_recordset(%(ends)s::json) AS (
            cluster_id int, hour timestamptz, token uuid, state text, next_try_at timestamptz,
            why text, decided_by text, flags text[], revision int, raw_sha256 bytea, row_count int,
            total_nano bigint, changed boolean, sha256 bytea, size_bytes int, asked_at timestamptz),
        unnest(%(bodies)b::bytea[])) AS k
    LIMIT %(count)s),
kept AS (
    INSERT INTO hopsmeter.raw_answers AS r
        (hour, cluster_id, sha256, size_bytes, body, asked_at, verdict)
    SELECT hour, cluster_id, sha256, size_bytes, body, asked_at, 'stored' FROM ends WHERE changed
    ON CONFLICT (hour, cluster_id, sha256) DO UPDATE SET verdict = excluded.verdict
    WHERE r.verdict <> 'stored'),
done AS (
    UPDATE hopsmeter.collection_windows w
    SET state = k.state, next_try_at = k.next_try_at, tries = 0, fault = NULL, why = k.why,
        accepted = k.decided_by IS NOT NULL, decided_by = k.decided_by, flags = k.flags,
        revision = k.revision, raw_sha256 = k.raw_sha256, pending_sha256 = NULL,
        row_count = k.row_count, total_nano = k.total_nano,
        collected_at = %(now)s,
        settled_at = CASE WHEN k.state = 'settled' THEN %(now)s END,
        stored_no = w.stored_no + k.changed::int,
        lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
    FROM ends k
    WHERE w.cluster_id = k.cluster_id AND w.hour = k.hour
      AND w.lease_token = k.token AND w.lease_until > clock_timestamp()
    RETURNING 1)
SELECT count(*), pg_notify('hopsmeter_books', 'stored') FROM done;

-- name: unchanged
-- The same bytes again: nothing is written but that they were seen.
UPDATE hopsmeter.collection_windows
SET state = CASE WHEN %(now)s >= hour + interval '1 hour' + %(settle)s THEN 'settled'
                 ELSE 'collected' END,
    settled_at = CASE WHEN %(now)s >= hour + interval '1 hour' + %(settle)s THEN %(now)s END,
    next_try_at = CASE WHEN %(now)s >= hour + interval '1 hour' + %(settle)s THEN NULL
                       ELSE hour + interval '1 hour' + %(settle)s END,
    tries = 0, fault = NULL, pending_sha256 = NULL,
    why = CASE WHEN decided_by IS NOT NULL AND fault IS NULL THEN why ELSE '' END,
    lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE (cluster_id, hour) IN (SELECT * FROM unnest(%(clusters)s::int[], %(hours)s::timestamptz[]))
  AND lease_token = ANY (%(tokens)s::uuid[]) AND lease_until > clock_timestamp();

-- name: fail
-- No answer: the hour stays what the books hold of it, and is asked for again after a pause.
-- Answers with nothing in them are counted by themselves: many of them make a gap.
UPDATE hopsmeter.collection_windows
SET tries = CASE WHEN %(fault)s = 'no-data' AND fault IS DISTINCT FROM 'no-data' THEN 1
                 ELSE tries END,
    state = CASE WHEN revision = 0 AND pending_sha256 IS NULL THEN 'failed' ELSE state END,
    fault = %(fault)s, why = %(why)s, next_try_at = %(next)s,
    lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s AND lease_token = %(token)s;

-- name: nothings
-- How often in a row, this one included, an hour was answered with nothing; and whether the source
-- gave data for a newer hour lately.
SELECT CASE WHEN w.fault = 'no-data' THEN w.tries ELSE 1 END,
       EXISTS (SELECT FROM hopsmeter.collection_windows n
               WHERE n.cluster_id = w.cluster_id AND n.hour > w.hour AND n.revision > 0
                 AND n.collected_at >= %(fresh)s)
FROM hopsmeter.collection_windows w
WHERE w.cluster_id = %(cluster_id)s AND w.hour = %(hour)s AND w.lease_token = %(token)s;

-- name: refuse
-- An answer that cannot be believed: kept for a person, the hour asked for again after a pause.
UPDATE hopsmeter.collection_windows
SET state = CASE WHEN revision = 0 THEN 'refused' ELSE state END,
    fault = %(fault)s, why = %(why)s, next_try_at = %(next)s,
    pending_sha256 = %(pending)s,
    lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s AND lease_token = %(token)s AND lease_until > clock_timestamp();

-- name: hold
-- A re-read that shrank: the books keep the old answer, the new one waits for an admin.
UPDATE hopsmeter.collection_windows
SET state = 'held', fault = 'shrank', why = %(why)s, next_try_at = NULL,
    pending_sha256 = %(pending)s,
    lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s AND lease_token = %(token)s AND lease_until > clock_timestamp();

-- name: source_gone
-- OpenCost no longer has the hour: a gap, never a zero; what was stored of it stays and settles.
UPDATE hopsmeter.collection_windows
SET state = CASE WHEN revision = 0 THEN 'gap' ELSE 'settled' END,
    settled_at = CASE WHEN revision = 0 THEN NULL ELSE %(now)s END,
    flags = CASE WHEN revision = 0 OR 'not-read-again' = ANY (flags) THEN flags
                 ELSE array_append(flags, 'not-read-again') END,
    fault = 'no-data', why = %(why)s, next_try_at = NULL,
    lease_token = NULL, lease_until = NULL, lease_pid = NULL, lease_by = NULL
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s AND lease_token = %(token)s;

-- name: answered
-- A cluster answers; what its visit comes to is written at the visit's end.
UPDATE hopsmeter.hopsworks_clusters SET last_answered_at = %(now)s WHERE id = %(cluster_id)s;

-- name: visited
-- What a visit to a cluster came to; one that fails is left alone for a growing while.
UPDATE hopsmeter.hopsworks_clusters
SET last_asked_at = %(now)s,
    last_answered_at = CASE WHEN %(answered)s THEN %(now)s ELSE last_answered_at END,
    last_outcome = %(outcome)s,
    failures = CASE WHEN %(failed)s THEN failures + 1 ELSE 0 END,
    next_visit_at = %(next)s
WHERE id = %(cluster_id)s;

-- name: known_namespaces
-- Names and compact numbers of one cluster's namespaces.
SELECT name, id FROM hopsmeter.namespaces WHERE cluster_id = %(cluster_id)s;

-- name: add_namespaces
-- Give new names their number; two stores at once agree on it.
INSERT INTO hopsmeter.namespaces (cluster_id, name, first_seen, last_seen)
SELECT %(cluster_id)s, name, %(hour)s, %(hour)s FROM unnest(%(names)s::text[]) name ORDER BY name
ON CONFLICT DO NOTHING;

-- name: seen_namespaces
-- Raise last_seen, or lower first_seen: once a day and cluster, not on each hour.
UPDATE hopsmeter.namespaces
SET last_seen = greatest(last_seen, %(hour)s), first_seen = least(first_seen, %(hour)s)
WHERE id = ANY (%(ids)s) AND (last_seen < %(hour)s OR first_seen > %(hour)s);

-- name: owners_at
-- Who owned which namespace of a cluster in one hour.
SELECT namespace, user_no FROM hopsmeter.user_projects
WHERE cluster_id = %(cluster_id)s AND valid @> %(hour)s::timestamptz;

-- name: plan_versions_at
-- Which plan version prices an account in one hour: of a cluster's accounts that have a plan of their
-- own, and as account 0 of all others. Apart from the owners: joined, a planner without statistics looks each
-- of ten thousand namespaces up by itself, which takes a hundred times as long.
SELECT 0, id FROM hopsmeter.rate_plan_periods
WHERE is_default AND valid @> %(hour)s::timestamptz
UNION ALL
SELECT s.account_no, v.id
FROM hopsmeter.plan_assignments s
CROSS JOIN LATERAL (
    SELECT id FROM hopsmeter.rate_plan_versions
    WHERE plan_id = s.plan_id AND valid_from <= %(hour)s
    ORDER BY valid_from DESC LIMIT 1) v
WHERE s.valid @> %(hour)s::timestamptz
  AND s.account_no IN (SELECT user_no FROM hopsmeter.user_projects
                       WHERE cluster_id = %(cluster_id)s);

-- name: attribution_span
-- The rules of one cluster at one hour, and from when to when nothing of them changes.
WITH bounds AS (
    SELECT lower(valid) AS at FROM hopsmeter.user_projects WHERE cluster_id = %(cluster_id)s
    UNION ALL
    SELECT upper(valid) FROM hopsmeter.user_projects
    WHERE cluster_id = %(cluster_id)s AND NOT upper_inf(valid)
    UNION ALL
    SELECT unnest(ARRAY[lower(valid), upper(valid)]) FROM hopsmeter.plan_assignments
    WHERE account_no IN (SELECT user_no FROM hopsmeter.user_projects
                         WHERE cluster_id = %(cluster_id)s)
    UNION ALL
    SELECT valid_from FROM hopsmeter.rate_plan_versions)
SELECT c.system_namespaces,
       (SELECT max(at) FROM bounds WHERE at <= %(hour)s),
       (SELECT min(at) FROM bounds WHERE at > %(hour)s)
FROM hopsmeter.hopsworks_clusters c WHERE c.id = %(cluster_id)s;

-- name: staging
-- Where a re-read is laid beside what is stored.
CREATE TEMP TABLE IF NOT EXISTS hopsmeter_staging (LIKE hopsmeter.allocations)
ON COMMIT DELETE ROWS;

-- name: changed
-- How many rows of the re-read differ from what is stored, or are new; and whether the answer that
-- is stored is kept.
SELECT count(*),
       EXISTS (SELECT FROM hopsmeter.raw_answers
               WHERE hour = %(hour)s AND cluster_id = %(cluster_id)s AND sha256 = %(raw_sha256)s)
FROM hopsmeter_staging s
LEFT JOIN hopsmeter.allocations a
    ON a.hour = %(hour)s AND a.hour = s.hour AND a.namespace_id = s.namespace_id
WHERE a.hour IS NULL OR {columns_a} IS DISTINCT FROM {columns_s};

-- name: keep_replaced
-- The revisions that the re-read replaces, as they were.
INSERT INTO hopsmeter.allocation_history
SELECT a.*, clock_timestamp(), %(why)s, %(raw_sha256)s
FROM hopsmeter.allocations a JOIN hopsmeter_staging s
    ON s.hour = a.hour AND s.namespace_id = a.namespace_id
WHERE a.hour = %(hour)s AND {columns_a} IS DISTINCT FROM {columns_s};

-- name: replace
-- Put the re-read's rows where they differ or are new, under the new revision.
INSERT INTO hopsmeter.allocations AS a ({columns}, revision)
SELECT {columns}, %(revision)s FROM hopsmeter_staging
ON CONFLICT (hour, namespace_id) DO UPDATE
SET ({columns}, revision) = ({columns_excluded}, excluded.revision)
WHERE {columns_a} IS DISTINCT FROM {columns_excluded_row};

-- name: shrinkage
-- What a re-read would lose: namespaces that are gone, and the totals before and after, idle aside.
SELECT count(*) FILTER (WHERE s.namespace_id IS NULL AND a.flags & 4 = 0 AND a.kind <> 3),
       coalesce(sum(a.total_nano) FILTER (WHERE a.kind <> 3), 0)::bigint,
       coalesce(sum(s.total_nano) FILTER (WHERE s.kind <> 3), 0)::bigint,
       (array_agg(n.name ORDER BY n.name)
            FILTER (WHERE s.namespace_id IS NULL AND a.flags & 4 = 0 AND a.kind <> 3))[1:3],
       (SELECT currency FROM hopsmeter.hopsworks_clusters WHERE id = %(cluster_id)s)
FROM (SELECT * FROM hopsmeter.allocations
      WHERE hour = %(hour)s AND namespace_id = ANY (ARRAY(
          SELECT id FROM hopsmeter.namespaces WHERE cluster_id = %(cluster_id)s))) a
FULL JOIN hopsmeter_staging s ON s.namespace_id = a.namespace_id
LEFT JOIN hopsmeter.namespaces n ON n.id = a.namespace_id;

-- name: stage_vanished
-- A namespace that the re-read no longer has becomes a revision of zeros.
INSERT INTO hopsmeter_staging
SELECT a.hour, a.namespace_id, a.cluster_id, a.kind, 4, a.revision, a.user_no, a.account_no,
       a.plan_version_id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1
FROM hopsmeter.allocations a
WHERE a.hour = %(hour)s AND a.namespace_id = ANY (ARRAY(
          SELECT id FROM hopsmeter.namespaces WHERE cluster_id = %(cluster_id)s))
  AND NOT EXISTS (SELECT FROM hopsmeter_staging s WHERE s.namespace_id = a.namespace_id);

-- name: expected_attribution
-- Whose each stored allocation of one cluster is by the rules as they stand: the one definition
-- beside the store's own, used to revise. Idle and unmounted are OpenCost's own rows.
-- Hour by hour, each by the key of allocations, (hour, namespace_id), which has no other index:
-- OFFSET 0 holds the planner to it, which else walks through all months of all clusters.
SELECT a.hour, a.namespace_id, a.kind AS old_kind, a.user_no AS old_user_no,
       a.account_no AS old_account_no, a.plan_version_id AS old_plan_version_id,
       CASE WHEN n.name = '__idle__' THEN 3 WHEN n.name = '__unmounted__' THEN 4
            WHEN n.name = ANY (c.system_namespaces) THEN 2
            WHEN p.user_no IS NOT NULL THEN 1 ELSE 0 END::smallint AS kind,
       CASE WHEN n.name = ANY (c.system_namespaces) THEN NULL ELSE p.user_no END AS user_no,
       CASE WHEN n.name = ANY (c.system_namespaces) OR p.user_no IS NULL THEN NULL
            ELSE v.id END AS plan_version_id
FROM hopsmeter.collection_windows w
CROSS JOIN LATERAL (
    SELECT * FROM hopsmeter.allocations
    WHERE hour = w.hour AND namespace_id = ANY (ARRAY(
        SELECT id FROM hopsmeter.namespaces
        WHERE cluster_id = %(cluster_id)s
          AND (%(names)s::text[] IS NULL OR name = ANY (%(names)s))))
    OFFSET 0) a
JOIN hopsmeter.namespaces n ON n.id = a.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
LEFT JOIN hopsmeter.user_projects p
    ON p.cluster_id = w.cluster_id AND p.namespace = n.name AND p.valid @> w.hour
LEFT JOIN hopsmeter.plan_assignments s ON s.account_no = p.user_no AND s.valid @> w.hour
LEFT JOIN LATERAL (
    SELECT id FROM hopsmeter.rate_plan_versions
    WHERE plan_id = coalesce(s.plan_id, (SELECT id FROM hopsmeter.rate_plans WHERE is_default))
      AND valid_from <= w.hour
    ORDER BY valid_from DESC LIMIT 1) v ON true
WHERE w.cluster_id = %(cluster_id)s AND w.hour >= %(since)s AND w.hour < %(until)s
  AND w.revision > 0;

-- name: reattribute
-- Revise the stored rows of one cluster whose owner, kind or plan the rules now say otherwise:
-- the old ones to history, the new ones under the hour's next revision. Returns how many hours they
-- are of, what they cost, and what is charged for them before and after.
WITH expected AS MATERIALIZED ({expected}),
wrong AS MATERIALIZED (
    SELECT * FROM expected
    WHERE (old_kind, old_user_no, old_account_no, old_plan_version_id)
        IS DISTINCT FROM (kind, user_no, user_no, plan_version_id)),
raised AS (
    UPDATE hopsmeter.collection_windows w
    SET revision = w.revision + 1, stored_no = w.stored_no + 1
    WHERE w.cluster_id = %(cluster_id)s AND w.hour IN (SELECT hour FROM wrong)
    RETURNING w.hour, w.revision, w.raw_sha256),
history AS (
    INSERT INTO hopsmeter.allocation_history
    SELECT a.*, clock_timestamp(), %(why)s, r.raw_sha256
    FROM wrong x
    JOIN raised r ON r.hour = x.hour
    CROSS JOIN LATERAL (
        SELECT * FROM hopsmeter.allocations
        WHERE hour = x.hour AND namespace_id = x.namespace_id OFFSET 0) a),
revised AS (
    UPDATE hopsmeter.allocations a
    SET kind = x.kind, user_no = x.user_no, account_no = x.user_no,
        plan_version_id = x.plan_version_id, revision = r.revision
    FROM wrong x
    JOIN raised r ON r.hour = x.hour
    LEFT JOIN hopsmeter.rate_plan_versions before ON before.id = x.old_plan_version_id
    LEFT JOIN hopsmeter.rate_plan_versions now ON now.id = x.plan_version_id
    WHERE a.hour = x.hour AND a.namespace_id = x.namespace_id
      AND a.hour = ANY (ARRAY(SELECT DISTINCT hour FROM wrong))
      AND a.namespace_id = ANY (ARRAY(SELECT DISTINCT namespace_id FROM wrong))
    RETURNING a.hour, a.total_nano, hopsmeter.charge_nano(a, before, NULL) AS charge_before,
              hopsmeter.charge_nano(a, now, NULL) AS charge_after)
SELECT count(DISTINCT hour)::int, coalesce(sum(total_nano), 0),
       coalesce(sum(charge_before), 0), coalesce(sum(charge_after), 0)
FROM revised;

-- name: lock_windows
-- Hours of one cluster, in the order in which everybody locks windows, before many are revised.
SELECT FROM hopsmeter.collection_windows
WHERE cluster_id = %(cluster_id)s AND hour >= %(since)s AND hour < %(until)s AND revision > 0
ORDER BY cluster_id, hour FOR UPDATE;

-- name: periods_touching
-- The periods of one namespace that are not over before `since`, oldest first.
SELECT id, user_no, lower(valid), upper(valid), source FROM hopsmeter.user_projects
WHERE cluster_id = %(cluster_id)s AND namespace = %(namespace)s
  AND (upper_inf(valid) OR upper(valid) > %(since)s)
ORDER BY lower(valid)
FOR UPDATE;

-- name: first_unowned_hour
-- The first stored hour of a namespace that is nobody's, after the last period that somebody had.
-- Hour by hour, by the key of allocations; see expected_attribution.
SELECT w.hour FROM hopsmeter.collection_windows w
JOIN hopsmeter.namespaces n ON n.cluster_id = w.cluster_id AND n.name = %(namespace)s
CROSS JOIN LATERAL (
    SELECT FROM hopsmeter.allocations
    WHERE hour = w.hour AND namespace_id = n.id AND kind = 0 OFFSET 0) a
WHERE w.cluster_id = %(cluster_id)s AND w.revision > 0
  AND w.hour >= coalesce((SELECT max(coalesce(upper(valid), 'infinity')) FROM hopsmeter.user_projects
                          WHERE cluster_id = %(cluster_id)s AND namespace = %(namespace)s),
                         '-infinity')
ORDER BY w.hour LIMIT 1;

-- name: end_period
-- End a period at an hour.
UPDATE hopsmeter.user_projects SET valid = tstzrange(lower(valid), %(until)s)
WHERE id = %(id)s;

-- name: drop_period
-- Take away a period of which nothing is left.
DELETE FROM hopsmeter.user_projects WHERE id = %(id)s;

-- name: add_period
-- Begin a period; without an end it goes on until somebody ends it.
INSERT INTO hopsmeter.user_projects
    (cluster_id, namespace, user_no, project, valid, source, created_by)
VALUES (%(cluster_id)s, %(namespace)s, %(user_no)s, %(project)s,
        tstzrange(%(since)s, %(until)s), %(source)s, %(by)s);

-- name: assignments_touching
-- The plans of one account whose periods are not over before `since`, oldest first.
SELECT s.id, p.name, lower(s.valid), upper(s.valid) FROM hopsmeter.plan_assignments s
JOIN hopsmeter.rate_plans p ON p.id = s.plan_id
WHERE s.account_no = %(account_no)s AND (upper_inf(s.valid) OR upper(s.valid) > %(since)s)
ORDER BY lower(s.valid)
FOR UPDATE OF s;

-- name: end_assignment
-- End a plan's period at an hour.
UPDATE hopsmeter.plan_assignments SET valid = tstzrange(lower(valid), %(until)s)
WHERE id = %(id)s;

-- name: drop_assignment
-- Take away a plan's period of which nothing is left.
DELETE FROM hopsmeter.plan_assignments WHERE id = %(id)s;

-- name: add_assignment
-- Let an account pay by a plan; without an end it goes on until somebody ends it.
INSERT INTO hopsmeter.plan_assignments (account_no, plan_id, valid, created_by)
VALUES (%(account_no)s, %(plan_id)s, tstzrange(%(since)s, %(until)s), %(by)s);

-- name: paid_namespaces
-- What an account pays for within a span, by cluster, in the order in which everybody locks windows.
SELECT c.id, c.currency, array_agg(DISTINCT p.namespace)
FROM hopsmeter.user_projects p JOIN hopsmeter.hopsworks_clusters c ON c.id = p.cluster_id
WHERE p.user_no = %(account_no)s AND p.valid && tstzrange(%(since)s, %(until)s)
GROUP BY c.id ORDER BY c.id;

-- name: free_value
-- What an account is not charged within a span because it is free.
SELECT coalesce(sum(hopsmeter.charge_nano(x.a, v, NULL) - hopsmeter.charge_nano(x.a, v, f)), 0)::bigint
FROM hopsmeter.free_parts(%(since)s, coalesce(%(until)s::timestamptz, 'infinity'),
                          ARRAY[%(account_no)s::int], NULL) f
CROSS JOIN LATERAL (
    SELECT a FROM hopsmeter.allocations a
    WHERE a.hour = f.hour AND a.namespace_id = f.namespace_id OFFSET 0) x
JOIN hopsmeter.rate_plan_versions v ON v.id = (x.a).plan_version_id;

-- name: assigned_within_a_month
-- Whom a plan is assigned to from an hour within a span that is not the first of a month.
SELECT u.id, lower(s.valid) FROM hopsmeter.plan_assignments s
JOIN hopsmeter.users u ON u.no = s.account_no
WHERE s.plan_id = %(plan_id)s
  AND lower(s.valid) >= %(since)s
  AND lower(s.valid) < coalesce(%(until)s::timestamptz, 'infinity')
  AND date_trunc('month', lower(s.valid), 'UTC') <> lower(s.valid)
ORDER BY lower(s.valid), u.id LIMIT 1;

-- name: plan_charged
-- Whether a stored hour is priced by one of the versions of a plan that accounts were assigned to.
-- Hour by hour, by the key of allocations; see expected_attribution.
SELECT EXISTS (
    SELECT FROM hopsmeter.plan_assignments s
    JOIN hopsmeter.user_projects p ON p.user_no = s.account_no AND p.valid && s.valid
    JOIN hopsmeter.namespaces n ON n.cluster_id = p.cluster_id AND n.name = p.namespace
    JOIN hopsmeter.collection_windows w
        ON w.cluster_id = p.cluster_id AND w.revision > 0 AND s.valid * p.valid @> w.hour
    CROSS JOIN LATERAL (
        SELECT FROM hopsmeter.allocations
        WHERE hour = w.hour AND namespace_id = n.id AND plan_version_id = ANY (%(versions)s)
        OFFSET 0) a
    WHERE s.plan_id = %(plan_id)s);

-- name: default_charged
-- The same for the default plan. It ends at the first row of somebody's, which is near where most
-- people pay by it; where nobody does, it reads all there is.
SELECT EXISTS (SELECT FROM hopsmeter.allocations WHERE plan_version_id = ANY (%(versions)s));

-- name: charged_since
-- The last hour, from one on, that some versions price.
SELECT max(hour) FROM hopsmeter.allocations
WHERE hour >= %(since)s AND plan_version_id = ANY (%(versions)s);

-- name: raise_epoch
-- Whoever resolved owners or plans before this must resolve them again.
UPDATE hopsmeter.ownership_epoch SET epoch = epoch + 1;

-- name: decided_window
-- One hour as a person decides about it, and what is plausible for its cluster. Locked until the
-- decision is made: a store that was first is seen, one that comes later finds it decided.
SELECT w.cluster_id, c.name, c.currency, w.state, w.revision, w.total_nano, w.raw_sha256,
       w.pending_sha256,
       c.cost_max_nano, c.cores_max, c.gpus_max, c.ram_max_bytes, c.sentinel_namespace,
       c.opencost_cluster_id
FROM hopsmeter.collection_windows w JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE c.name = %(cluster)s AND w.hour = %(hour)s
FOR UPDATE OF w;

-- name: limits
-- What is plausible for one cluster, and how often it failed in a row.
SELECT cost_max_nano, cores_max, gpus_max, ram_max_bytes, sentinel_namespace,
       opencost_cluster_id, failures
FROM hopsmeter.hopsworks_clusters WHERE id = %(cluster_id)s;

-- name: missing_hours
-- Closed hours of one cluster that are not in the books and that somebody still wants, oldest first.
SELECT hour.hour FROM hopsmeter.hopsworks_clusters c
CROSS JOIN LATERAL generate_series(c.metering_since, %(newest)s, interval '1 hour') hour (hour)
LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = hour.hour
WHERE c.id = %(cluster_id)s AND (c.paused_since IS NULL OR hour.hour < c.paused_since)
  AND coalesce(w.revision = 0 AND w.state NOT IN ('gap', 'waived'), true)
ORDER BY 1;

-- name: raw_answer
-- One kept answer.
SELECT size_bytes, body, asked_at FROM hopsmeter.raw_answers
WHERE hour = %(hour)s AND cluster_id = %(cluster_id)s AND sha256 = %(sha256)s;

-- name: keep_stored
-- Stay with the stored answer: the hour is settled.
UPDATE hopsmeter.collection_windows
SET state = 'settled', settled_at = %(now)s, next_try_at = NULL, pending_sha256 = NULL,
    fault = NULL, why = %(why)s, decided_by = %(by)s
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s
  AND (lease_until IS NULL OR lease_until < clock_timestamp());

-- name: give_up
-- A gap, by a person's word.
UPDATE hopsmeter.collection_windows
SET state = 'gap', next_try_at = NULL, why = %(why)s, decided_by = %(by)s
WHERE cluster_id = %(cluster_id)s AND hour = %(hour)s
  AND (lease_until IS NULL OR lease_until < clock_timestamp());

-- name: asked_clusters
-- The clusters whose hours may be asked for, locked before these, as everybody does.
SELECT id FROM hopsmeter.hopsworks_clusters
WHERE status = 'active' AND (%(cluster)s::text IS NULL OR name = %(cluster)s)
ORDER BY id FOR NO KEY UPDATE;

-- name: ask_again
-- Hours to be asked for at once: one, all since one, or those that the books do not hold yet. What
-- was waived is asked for by itself only, since nobody was to pay for it.
-- Locked in the order in which everybody locks windows.
WITH asked AS MATERIALIZED (
    SELECT w.cluster_id, c.name, w.hour
    FROM hopsmeter.collection_windows w JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
    WHERE c.status = 'active' AND (%(cluster)s::text IS NULL OR c.name = %(cluster)s)
      AND CASE WHEN %(hour)s::timestamptz IS NOT NULL THEN w.hour = %(hour)s
               WHEN %(since)s::timestamptz IS NOT NULL
                   THEN w.hour >= %(since)s AND w.state <> 'waived'
               ELSE w.revision = 0 AND w.state IN ('due', 'failed', 'refused') END
    ORDER BY w.cluster_id, w.hour FOR UPDATE OF w)
UPDATE hopsmeter.collection_windows w SET next_try_at = %(now)s
FROM asked WHERE w.cluster_id = asked.cluster_id AND w.hour = asked.hour
RETURNING w.cluster_id, asked.name, w.hour;

-- name: visit_now
-- Lift the pause of clusters that a person wants asked.
UPDATE hopsmeter.hopsworks_clusters SET next_visit_at = NULL WHERE id = ANY (%(clusters)s);
