-- Posting: what the stored hours of a day should have written, less what they have.

-- name: end_frozen_poster
-- End the backend that holds the lock of posting and has waited for its own client, at one and the
-- same statement, longer than any statement may take.
SELECT pg_terminate_backend(a.pid, 2000)
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %(lock)s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.pid <> pg_backend_pid() AND a.usename = current_user AND a.wait_event_type = 'Client'
  AND a.state_change < clock_timestamp() - make_interval(secs => %(frozen_s)s);

-- name: days_to_post
-- Days with hours that were stored, or changed, since they were posted; oldest first.
SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date AS day FROM hopsmeter.collection_windows
WHERE stored_no <> posted_no ORDER BY day LIMIT %(limit)s;

-- name: unposted
-- The hours of a day that were stored, or changed, since they were posted, and by which store.
SELECT cluster_id, hour, stored_no, posted_no FROM hopsmeter.collection_windows
WHERE stored_no <> posted_no
  AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
  AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
ORDER BY cluster_id, hour;

-- name: plan_for_sets
-- A month's partition that is new has no statistics; told nothing, the planner thinks of one row
-- and loops over ten thousand for each of ten thousand, or reads the whole month for one hour.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('work_mem', '64MB', true);

-- name: plan_as_usual
-- What is found by its key is found by its key.
SELECT set_config('enable_nestloop', 'on', true), set_config('enable_sort', 'on', true),
       set_config('enable_seqscan', 'on', true);

-- name: post_usage
-- usage_daily of some clusters of one day, recomputed from its allocations; only rows that differ
-- are written. An hour stored since the unposted ones were read is left to the next posting, which
-- will add it; it may not be in both.
WITH posted AS MATERIALIZED (
    SELECT cluster_id, hour FROM hopsmeter.collection_windows
    WHERE cluster_id = ANY (%(clusters)s::int[]) AND posted_no > 0
      AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    UNION
    SELECT * FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[])),
sums AS MATERIALIZED (
    SELECT a.user_no, a.account_no, a.cluster_id,
           hopsmeter.sum_nano(a.cpu_nano) AS cpu, hopsmeter.sum_nano(a.gpu_nano) AS gpu,
           hopsmeter.sum_nano(a.ram_nano) AS ram, hopsmeter.sum_nano(a.pv_nano) AS pv,
           hopsmeter.sum_nano(a.network_nano) AS network,
           hopsmeter.sum_nano(a.total_nano) AS total,
           hopsmeter.sum_nano(hopsmeter.charge_nano(a.total_nano, v.factor)) AS charge
    FROM hopsmeter.allocations a
    JOIN posted p ON p.cluster_id = a.cluster_id AND p.hour = a.hour
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    WHERE a.hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND a.hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND a.cluster_id = ANY (%(clusters)s::int[])
      AND a.kind = 1
    GROUP BY a.user_no, a.account_no, a.cluster_id),
gone AS (
    DELETE FROM hopsmeter.usage_daily u
    WHERE u.date = %(day)s AND u.cluster_id = ANY (%(clusters)s::int[])
      AND NOT EXISTS (SELECT FROM sums s WHERE s.user_no = u.user_no
                      AND s.account_no = u.account_no AND s.cluster_id = u.cluster_id)
    RETURNING 1),
written AS (
    INSERT INTO hopsmeter.usage_daily AS u
        (user_no, account_no, cluster_id, date, opencost_cpu_nano, opencost_gpu_nano,
         opencost_ram_nano, opencost_pv_nano, opencost_network_nano, opencost_other_nano,
         opencost_total_nano, charge_nano)
    SELECT user_no, account_no, cluster_id, %(day)s, cpu, gpu, ram, pv, network,
           total - cpu - gpu - ram - pv - network, total, charge
    FROM sums
    ON CONFLICT (date, cluster_id, user_no, account_no) DO UPDATE
    SET opencost_cpu_nano = excluded.opencost_cpu_nano,
        opencost_gpu_nano = excluded.opencost_gpu_nano,
        opencost_ram_nano = excluded.opencost_ram_nano,
        opencost_pv_nano = excluded.opencost_pv_nano,
        opencost_network_nano = excluded.opencost_network_nano,
        opencost_other_nano = excluded.opencost_other_nano,
        opencost_total_nano = excluded.opencost_total_nano,
        charge_nano = excluded.charge_nano
    WHERE (u.opencost_cpu_nano, u.opencost_gpu_nano, u.opencost_ram_nano, u.opencost_pv_nano,
           u.opencost_network_nano, u.opencost_other_nano, u.opencost_total_nano, u.charge_nano)
        IS DISTINCT FROM
          (excluded.opencost_cpu_nano, excluded.opencost_gpu_nano, excluded.opencost_ram_nano,
           excluded.opencost_pv_nano, excluded.opencost_network_nano,
           excluded.opencost_other_nano, excluded.opencost_total_nano, excluded.charge_nano)
    RETURNING 1)
SELECT (SELECT count(*) FROM written) + (SELECT count(*) FROM gone);

-- name: add_usage
-- Hours that were never posted, added to the daily rows: most postings are of one new hour, and a
-- day's last hour should not cost 24 times its first. Rows that are there are updated and the others
-- inserted, since ON CONFLICT would lock, and log, each row twice; one poster at a time makes it so.
WITH sums AS MATERIALIZED (
    SELECT a.user_no, a.account_no, a.cluster_id,
           hopsmeter.sum_nano(a.cpu_nano) AS cpu, hopsmeter.sum_nano(a.gpu_nano) AS gpu,
           hopsmeter.sum_nano(a.ram_nano) AS ram, hopsmeter.sum_nano(a.pv_nano) AS pv,
           hopsmeter.sum_nano(a.network_nano) AS network, hopsmeter.sum_nano(a.total_nano) AS total,
           hopsmeter.sum_nano(hopsmeter.charge_nano(a.total_nano, v.factor)) AS charge
    FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[]) AS k (cluster_id, hour)
    JOIN hopsmeter.allocations a ON a.hour = k.hour AND a.cluster_id = k.cluster_id
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    WHERE a.hour = ANY (%(each_hour)s::timestamptz[]) AND a.kind = 1
    GROUP BY a.user_no, a.account_no, a.cluster_id),
updated AS (
    UPDATE hopsmeter.usage_daily u
    SET opencost_cpu_nano = u.opencost_cpu_nano + s.cpu,
        opencost_gpu_nano = u.opencost_gpu_nano + s.gpu,
        opencost_ram_nano = u.opencost_ram_nano + s.ram,
        opencost_pv_nano = u.opencost_pv_nano + s.pv,
        opencost_network_nano = u.opencost_network_nano + s.network,
        opencost_other_nano =
            u.opencost_other_nano + s.total - s.cpu - s.gpu - s.ram - s.pv - s.network,
        opencost_total_nano = u.opencost_total_nano + s.total,
        charge_nano = u.charge_nano + s.charge
    FROM sums s
    WHERE u.date = %(day)s AND u.cluster_id = ANY (%(clusters)s::int[])
      AND u.cluster_id = s.cluster_id AND u.user_no = s.user_no AND u.account_no = s.account_no
    RETURNING u.cluster_id, u.user_no, u.account_no),
inserted AS (
    INSERT INTO hopsmeter.usage_daily
        (user_no, account_no, cluster_id, date, opencost_cpu_nano, opencost_gpu_nano,
         opencost_ram_nano, opencost_pv_nano, opencost_network_nano, opencost_other_nano,
         opencost_total_nano, charge_nano)
    SELECT s.user_no, s.account_no, s.cluster_id, %(day)s, cpu, gpu, ram, pv, network,
           total - cpu - gpu - ram - pv - network, total, charge
    FROM sums s
    WHERE NOT EXISTS (SELECT FROM updated u WHERE u.cluster_id = s.cluster_id
                      AND u.user_no = s.user_no AND u.account_no = s.account_no))
SELECT count(*) FROM sums;

-- name: posted
-- These hours are posted as of the stores that were seen before the daily rows were computed: locked
-- in the order in which everybody locks windows. And what follows: the posting's number, its
-- cluster-days, the word that it happened.
WITH seen AS MATERIALIZED (
    SELECT k.* FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[], %(numbers)s::bigint[])
        AS k (cluster_id, hour, stored_no)
    JOIN hopsmeter.collection_windows w ON w.cluster_id = k.cluster_id AND w.hour = k.hour
    ORDER BY k.cluster_id, k.hour FOR UPDATE OF w),
marked AS (
    UPDATE hopsmeter.collection_windows w SET posted_no = seen.stored_no
    FROM seen WHERE w.cluster_id = seen.cluster_id AND w.hour = seen.hour),
opened AS (
    INSERT INTO hopsmeter.cluster_days (cluster_id, day)
    SELECT id, %(day)s FROM unnest(%(clusters)s::int[]) id ON CONFLICT DO NOTHING),
numbered AS (
    INSERT INTO hopsmeter.postings (day, no)
    SELECT %(day)s, coalesce(max(no), 0) + 1 FROM hopsmeter.postings WHERE day = %(day)s)
SELECT pg_notify('hopsmeter_books', 'posted');

-- name: closed_clusters
-- Of these clusters those whose day is closed: a poster whose clock is a little behind, or who waited
-- over midnight, corrects a day that another one closed meanwhile.
SELECT cluster_id FROM hopsmeter.cluster_days
WHERE day = %(day)s AND cluster_id = ANY (%(clusters)s) AND closed_at IS NOT NULL
ORDER BY cluster_id;

-- name: days_to_close
-- Days that are over and whose rows per namespace were not written yet.
SELECT day, array_agg(cluster_id ORDER BY cluster_id) FROM hopsmeter.cluster_days
WHERE closed_at IS NULL AND day < %(today)s GROUP BY day ORDER BY day LIMIT %(limit)s;

-- name: clear_cost_daily
-- The day's rows of these clusters, to be written anew.
DELETE FROM hopsmeter.cost_daily WHERE date = %(day)s AND cluster_id = ANY (%(clusters)s);

-- name: write_cost_daily
-- Rows per namespace, user and kind: what every screen and report reads of a closed day.
INSERT INTO hopsmeter.cost_daily SELECT * FROM hopsmeter.cost_of_day(%(day)s, %(clusters)s);

-- name: write_breakdown
-- project_breakdown, rebuilt from the day's rows per namespace, never merged.
UPDATE hopsmeter.usage_daily u SET project_breakdown = b.breakdown
FROM (
    SELECT c.cluster_id, c.user_no, c.account_no, jsonb_object_agg(n.name, jsonb_build_object(
        'hours', c.hours, 'cpu_nano', c.cpu_nano, 'gpu_nano', c.gpu_nano,
        'ram_nano', c.ram_nano, 'pv_nano', c.pv_nano, 'network_nano', c.network_nano,
        'other_nano', c.other_nano, 'total_nano', c.total_nano, 'charge_nano', c.charge_nano,
        'cpu_core_hours_micro', c.cpu_core_hours_micro, 'gpu_hours_micro', c.gpu_hours_micro,
        'ram_byte_hours', c.ram_byte_hours, 'pv_byte_hours', c.pv_byte_hours,
        'efficiency_ppm', CASE WHEN c.cpu_nano + c.ram_nano > 0
            THEN least(c.used_weighted_nano::numeric * 1000000 / (c.cpu_nano + c.ram_nano),
                       2000000000)::bigint   -- as the reader's: 2000 times means nothing more
            END)) AS breakdown
    FROM hopsmeter.cost_daily c JOIN hopsmeter.namespaces n ON n.id = c.namespace_id
    WHERE c.date = %(day)s AND c.cluster_id = ANY (%(clusters)s) AND c.kind = 1
    GROUP BY c.cluster_id, c.user_no, c.account_no) b
WHERE u.date = %(day)s AND u.cluster_id = b.cluster_id AND u.user_no = b.user_no
  AND u.account_no = b.account_no;

-- name: close_days
-- From now on these cluster-days are read from cost_daily.
UPDATE hopsmeter.cluster_days SET closed_at = coalesce(closed_at, %(now)s)
WHERE day = %(day)s AND cluster_id = ANY (%(clusters)s);
