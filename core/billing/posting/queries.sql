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

-- name: days_due
-- Days with hours that were stored, or changed, since they were posted, oldest first; and the oldest
-- that is over, but not closed.
(SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date AS day, true FROM hopsmeter.collection_windows
 WHERE stored_no <> posted_no ORDER BY day LIMIT %(limit)s)
UNION ALL
(SELECT day, false FROM hopsmeter.cluster_days
 WHERE closed_at IS NULL AND day < %(today)s ORDER BY day LIMIT 1);

-- name: unposted
-- The hours of a day that were stored, or changed, since they were posted, by which store, and which
-- revision that made; with each the number of the posting that this will be, the date on which it
-- stands, and whether anybody has something included in that month, or had when the day was posted last.
-- One hour, as mostly, is posted by the plan that is kept: to plan anew takes a fifth of its posting. Many
-- are not, since the kept plan thinks of few rows.
SELECT cluster_id, hour, stored_no, posted_no, revision,
       (SELECT coalesce(max(no), 0) + 1 FROM hopsmeter.postings WHERE day = %(day)s),
       (SELECT hopsmeter.posting_date(%(day)s, %(today)s)),   -- once, not for each
       EXISTS (SELECT FROM hopsmeter.accounts_with_included
               WHERE valid @> date_trunc('month', %(day)s::timestamp) AT TIME ZONE 'UTC')
           OR EXISTS (SELECT FROM hopsmeter.included_used_daily WHERE date = %(day)s),
       CASE WHEN count(*) OVER () = 1
            THEN set_config('plan_cache_mode', 'force_generic_plan', true) END
FROM hopsmeter.collection_windows
WHERE stored_no <> posted_no
  AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
  AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC';   -- the planner would read all for an order

-- name: changes
-- Where a posting lays down what it changes of an account's day, and how the account pays on it: the
-- order, of which there is one only, is for the planner, which else asks the slower of two indexes.
CREATE TEMP TABLE IF NOT EXISTS hopsmeter_changes (
    account_no int NOT NULL, day date NOT NULL, change_nano bigint NOT NULL, mode varchar(16) NOT NULL)
ON COMMIT DELETE ROWS;

-- name: plan_for_sets
-- A month's partition that is new has no statistics; told nothing, the planner thinks of one row
-- and loops over ten thousand for each of ten thousand, or reads the whole month for one hour.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_sort', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('work_mem', '64MB', true);

-- name: made_again_if_lost
-- The commit does not wait for the disk: of a posting that the server loses when it dies, the hours are still to be
-- posted, and it is made again as it was. Whatever leaves the database is written by commits that wait, behind it.
SELECT set_config('synchronous_commit', 'off', true);

-- name: plan_as_usual
-- What is found by its key is found by its key.
SELECT set_config('enable_nestloop', 'on', true), set_config('enable_sort', 'on', true),
       set_config('enable_seqscan', 'on', true), set_config('plan_cache_mode', 'auto', true);

-- name: post_usage
-- usage_daily of some clusters of one day, recomputed from its allocations; only rows that differ
-- are written, and what that changes of an account's day is laid down. An hour stored since the unposted
-- ones were read is left to the next posting, which will add it; it may not be in both.
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
           hopsmeter.sum_nano(hopsmeter.charge_nano(a, v, NULL)) AS charge
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
touched AS (
    SELECT account_no FROM sums
    UNION SELECT account_no FROM hopsmeter.usage_daily
    WHERE date = %(day)s AND cluster_id = ANY (%(clusters)s::int[])),
changed AS (
    -- Against what is entered, not against what stood in the daily rows: so the two agree afterwards,
    -- whoever had laid hands on them.
    INSERT INTO hopsmeter_changes (account_no, day, change_nano, mode)
    SELECT c.account_no, %(day)s, sum(c.charge)::bigint,
           coalesce((SELECT mode FROM hopsmeter.billing_modes m
                     WHERE m.account_no = c.account_no AND m.valid @> %(day)s::date
                     ORDER BY lower(m.valid) LIMIT 1), 'postpaid')
    FROM (SELECT account_no, charge FROM sums
          UNION ALL
          SELECT account_no, charge_nano FROM hopsmeter.usage_daily JOIN touched USING (account_no)
          WHERE date = %(day)s AND cluster_id <> ALL (%(clusters)s::int[])
          UNION ALL
          SELECT account_no, amount_nano FROM hopsmeter.ledger_entries JOIN touched USING (account_no)
          WHERE usage_day = %(day)s AND posting_no IS NOT NULL AND contra = 11) c
    GROUP BY c.account_no HAVING sum(c.charge) <> 0),
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
-- Hours that were never posted, the same ones of each of some clusters, added to the daily rows: most
-- postings are of one new hour, and a day's last hour should not cost 24 times its first. Merged, since
-- ON CONFLICT would lock, and log, each row twice; that nobody else posts makes it right.
WITH sums AS MATERIALIZED (
    SELECT a.user_no, a.account_no, a.cluster_id,
           hopsmeter.sum_nano(a.cpu_nano) AS cpu, hopsmeter.sum_nano(a.gpu_nano) AS gpu,
           hopsmeter.sum_nano(a.ram_nano) AS ram, hopsmeter.sum_nano(a.pv_nano) AS pv,
           hopsmeter.sum_nano(a.network_nano) AS network, hopsmeter.sum_nano(a.total_nano) AS total,
           hopsmeter.sum_nano(CASE WHEN v.id IS NULL THEN a.total_nano
                                   ELSE hopsmeter.charge_nano(a, v, NULL) END) AS charge
    FROM hopsmeter.allocations a
    -- Most accounts pay what it costs, and of their rows no version need be opened.
    LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
        AND (v.factor IS DISTINCT FROM 1
             OR num_nonnulls(v.cpu_factor, v.gpu_factor, v.ram_factor, v.pv_factor,
                             v.network_factor, v.load_balancer_factor, v.shared_factor,
                             v.external_factor) > 0)
    -- Whose user is known is a user's (kind 1): of that a planner without statistics thinks of most
    -- rows, of `kind = 1` of few, and then it hashes the facts instead of the versions.
    WHERE a.hour = ANY (%(hours)s::timestamptz[]) AND a.cluster_id = ANY (%(clusters)s::int[])
      AND a.user_no IS NOT NULL
    GROUP BY a.user_no, a.account_no, a.cluster_id),
changed AS (
    INSERT INTO hopsmeter_changes (account_no, day, change_nano, mode)
    SELECT s.account_no, %(day)s, hopsmeter.sum_nano(s.charge),
           coalesce((SELECT mode FROM hopsmeter.billing_modes m
                     WHERE m.account_no = s.account_no AND m.valid @> %(day)s::date
                     ORDER BY lower(m.valid) LIMIT 1), 'postpaid')
    FROM sums s GROUP BY s.account_no HAVING hopsmeter.sum_nano(s.charge) <> 0)
MERGE INTO hopsmeter.usage_daily u USING sums s
ON u.date = %(day)s AND u.cluster_id = ANY (%(clusters)s::int[])
   AND u.cluster_id = s.cluster_id AND u.user_no = s.user_no AND u.account_no = s.account_no
WHEN MATCHED THEN UPDATE
    SET opencost_cpu_nano = u.opencost_cpu_nano + s.cpu,
        opencost_gpu_nano = u.opencost_gpu_nano + s.gpu,
        opencost_ram_nano = u.opencost_ram_nano + s.ram,
        opencost_pv_nano = u.opencost_pv_nano + s.pv,
        opencost_network_nano = u.opencost_network_nano + s.network,
        opencost_other_nano =
            u.opencost_other_nano + s.total - s.cpu - s.gpu - s.ram - s.pv - s.network,
        opencost_total_nano = u.opencost_total_nano + s.total,
        charge_nano = u.charge_nano + s.charge
WHEN NOT MATCHED THEN
    INSERT (user_no, account_no, cluster_id, date, opencost_cpu_nano, opencost_gpu_nano,
            opencost_ram_nano, opencost_pv_nano, opencost_network_nano, opencost_other_nano,
            opencost_total_nano, charge_nano)
    VALUES (s.user_no, s.account_no, s.cluster_id, %(day)s, s.cpu, s.gpu, s.ram, s.pv, s.network,
            s.total - s.cpu - s.gpu - s.ram - s.pv - s.network, s.total, s.charge);

-- name: accounts_with_included
-- Accounts that have something included in a day's month, or had when the day was posted last, and a
-- daily row of that day and of one of these clusters.
SELECT account_no FROM (
    SELECT account_no FROM hopsmeter.accounts_with_included
    WHERE valid @> date_trunc('month', %(day)s::timestamp) AT TIME ZONE 'UTC'
    UNION
    SELECT account_no FROM hopsmeter.included_used_daily WHERE date = %(day)s) i
WHERE EXISTS (SELECT FROM hopsmeter.usage_daily u
              WHERE u.date = %(day)s AND u.cluster_id = ANY (%(clusters)s::int[])
                AND u.account_no = i.account_no);

-- name: keep_used
-- What some accounts used on a day under versions with something included, of the hours that are posted
-- or seen: what is free on the later days of the month begins with it.
WITH posted AS MATERIALIZED (
    SELECT cluster_id, hour FROM hopsmeter.collection_windows
    WHERE posted_no > 0 AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    UNION
    SELECT * FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[])),
used AS MATERIALIZED (
    SELECT a.account_no, a.plan_version_id,
           hopsmeter.sum_nano(a.cpu_core_hours_micro) AS cpu,
           hopsmeter.sum_nano(a.gpu_hours_micro) AS gpu,
           hopsmeter.sum_nano(a.ram_byte_hours) AS ram, hopsmeter.sum_nano(a.pv_byte_hours) AS pv,
           hopsmeter.sum_nano(a.network_transfer_bytes) AS network
    FROM hopsmeter.allocations a
    JOIN posted p ON p.cluster_id = a.cluster_id AND p.hour = a.hour
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
        AND num_nonnulls(v.cpu_included, v.gpu_included, v.ram_included, v.pv_included,
                         v.network_included) > 0
    WHERE a.hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND a.hour < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND a.kind = 1 AND a.account_no = ANY (%(accounts)s::int[])
    GROUP BY a.account_no, a.plan_version_id),
gone AS (
    DELETE FROM hopsmeter.included_used_daily d
    WHERE d.date = %(day)s AND d.account_no = ANY (%(accounts)s::int[])
      AND NOT EXISTS (SELECT FROM used u WHERE u.account_no = d.account_no
                      AND u.plan_version_id = d.plan_version_id))
INSERT INTO hopsmeter.included_used_daily AS d
    (account_no, date, plan_version_id, cpu_core_hours_micro, gpu_hours_micro, ram_byte_hours,
     pv_byte_hours, network_transfer_bytes)
SELECT account_no, %(day)s, plan_version_id, cpu, gpu, ram, pv, network FROM used
ON CONFLICT (date, account_no, plan_version_id) DO UPDATE
SET cpu_core_hours_micro = excluded.cpu_core_hours_micro,
    gpu_hours_micro = excluded.gpu_hours_micro, ram_byte_hours = excluded.ram_byte_hours,
    pv_byte_hours = excluded.pv_byte_hours,
    network_transfer_bytes = excluded.network_transfer_bytes
WHERE (d.cpu_core_hours_micro, d.gpu_hours_micro, d.ram_byte_hours, d.pv_byte_hours,
       d.network_transfer_bytes) IS DISTINCT FROM
      (excluded.cpu_core_hours_micro, excluded.gpu_hours_micro, excluded.ram_byte_hours,
       excluded.pv_byte_hours, excluded.network_transfer_bytes);

-- name: last_day_charged
-- The last day of a day's month of which some accounts have a daily row.
SELECT max(date) FROM hopsmeter.usage_daily
WHERE date >= %(day)s AND account_no = ANY (%(accounts)s::int[])
  AND date < (date_trunc('month', %(day)s::timestamp) + interval '1 month')::date;

-- name: charge_anew
-- The daily charges of some accounts, from a day to another of its month, less what is free of them: of
-- the hours that are posted or seen. Rows that are not there yet come with their own posting. What that
-- changes of an account's day is laid down.
WITH rows AS MATERIALIZED (
    SELECT u.date, u.cluster_id, u.user_no, u.account_no, u.charge_nano
    FROM hopsmeter.usage_daily u
    WHERE u.date >= %(day)s AND u.date <= %(last)s
      AND u.account_no = ANY (%(accounts)s::int[])),
posted AS MATERIALIZED (
    SELECT cluster_id, hour FROM hopsmeter.collection_windows
    WHERE posted_no > 0 AND hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
    UNION
    SELECT * FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[])),
parts AS MATERIALIZED (
    SELECT (a.hour AT TIME ZONE 'UTC')::date AS date, a.cluster_id, a.namespace_id, a.user_no,
           a.account_no, hopsmeter.sum_nano(hopsmeter.charge_nano(a, v, f)) AS charge
    FROM hopsmeter.allocations a
    JOIN posted p ON p.cluster_id = a.cluster_id AND p.hour = a.hour
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    LEFT JOIN hopsmeter.free_parts(
        %(day)s::timestamp AT TIME ZONE 'UTC', (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC',
        %(accounts)s::int[], NULL) f ON f.hour = a.hour AND f.namespace_id = a.namespace_id
    WHERE a.hour >= %(day)s::timestamp AT TIME ZONE 'UTC'
      AND a.hour < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
      AND a.kind = 1 AND a.account_no = ANY (%(accounts)s::int[])
    GROUP BY 1, 2, 3, 4, 5),
sums AS MATERIALIZED (
    SELECT date, cluster_id, user_no, account_no, hopsmeter.sum_nano(charge) AS charge FROM parts
    GROUP BY 1, 2, 3, 4),
wrong AS MATERIALIZED (
    SELECT r.*, coalesce(s.charge, 0) AS charge
    FROM rows r LEFT JOIN sums s USING (date, cluster_id, user_no, account_no)
    WHERE r.charge_nano <> coalesce(s.charge, 0)),
changed AS (
    INSERT INTO hopsmeter_changes (account_no, day, change_nano, mode)
    SELECT w.account_no, w.date, sum(w.charge - w.charge_nano)::bigint,
           coalesce((SELECT mode FROM hopsmeter.billing_modes m
                     WHERE m.account_no = w.account_no AND m.valid @> w.date
                     ORDER BY lower(m.valid) LIMIT 1), 'postpaid')
    FROM wrong w GROUP BY w.account_no, w.date HAVING sum(w.charge - w.charge_nano) <> 0),
written AS (
    UPDATE hopsmeter.usage_daily u SET charge_nano = w.charge
    FROM wrong w
    WHERE u.date = w.date AND u.cluster_id = w.cluster_id AND u.user_no = w.user_no
      AND u.account_no = w.account_no)
SELECT date, cluster_id FROM wrong
UNION   -- what is free of one namespace less, and of another more
SELECT p.date, p.cluster_id FROM parts p
JOIN hopsmeter.cost_daily c USING (date, namespace_id, user_no, account_no)
WHERE c.kind = 1 AND c.charge_nano <> p.charge
ORDER BY 1, 2;

-- name: later_turns
-- The other days whose changes are laid down: the number of the posting of each, and its date.
SELECT c.day, (SELECT coalesce(max(no), 0) + 1 FROM hopsmeter.postings p WHERE p.day = c.day),
       hopsmeter.posting_date(c.day, greatest(c.day, %(today)s::date))
FROM (SELECT DISTINCT day FROM hopsmeter_changes WHERE day <> %(day)s) c ORDER BY c.day;

-- name: number_posting
-- A posting that wrote entries, and marked no hour.
INSERT INTO hopsmeter.postings (day, no, entries) VALUES (%(day)s, %(no)s, %(entries)s);

-- name: posted
-- These hours are posted as of the stores that were seen before the daily rows were computed: locked
-- in the order in which everybody locks windows. And what follows: the posting's number, its
-- hours, its cluster-days, the word that it happened.
WITH seen AS MATERIALIZED (
    SELECT k.* FROM unnest(%(ids)s::int[], %(hours)s::timestamptz[], %(numbers)s::bigint[],
                           %(revisions)s::int[])
        AS k (cluster_id, hour, stored_no, revision)
    JOIN hopsmeter.collection_windows w ON w.cluster_id = k.cluster_id AND w.hour = k.hour
    ORDER BY k.cluster_id, k.hour FOR UPDATE OF w),
marked AS (
    UPDATE hopsmeter.collection_windows w SET posted_no = seen.stored_no
    FROM seen WHERE w.cluster_id = seen.cluster_id AND w.hour = seen.hour),
opened AS (
    INSERT INTO hopsmeter.cluster_days (cluster_id, day)
    SELECT id, %(day)s FROM unnest(%(clusters)s::int[]) id ON CONFLICT DO NOTHING),
kept AS (
    INSERT INTO hopsmeter.posted_hours (hour, cluster_id, posting_no, revision)
    SELECT hour, cluster_id, %(no)s, revision FROM seen),
numbered AS (
    INSERT INTO hopsmeter.postings (day, no, entries) VALUES (%(day)s, %(no)s, %(entries)s))
-- Returned are those of these clusters whose day is closed: a poster whose clock is a little behind, or
-- who waited over midnight, corrects a day that another one closed meanwhile.
SELECT pg_notify('hopsmeter_books', 'posted'), ARRAY(
    SELECT cluster_id FROM hopsmeter.cluster_days
    WHERE day = %(day)s AND cluster_id = ANY (%(clusters)s) AND closed_at IS NOT NULL
    ORDER BY cluster_id);

-- name: closed_clusters
-- Of these clusters those whose day is closed.
SELECT cluster_id FROM hopsmeter.cluster_days
WHERE day = %(day)s AND cluster_id = ANY (%(clusters)s::int[]) AND closed_at IS NOT NULL
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

-- name: lock_books
-- The books of accounts with credits that the changes of a day touch, account by account, by the row
-- that stands for all of them. A statement of its own: what follows then sees what those who had them
-- before have left in the lots.
SELECT count(*) FROM (
    SELECT FROM hopsmeter_changes c
    JOIN hopsmeter.ledger_balances b ON b.account_no = c.account_no AND b.book = 1
    WHERE c.mode <> 'postpaid'
    ORDER BY b.account_no FOR UPDATE OF b) locked;

-- name: post_changes
-- What a day is charged more than was posted of it (or less, of an account without credits), in one
-- statement for all accounts: from the lots in the order of use where the mode has them, what is left
-- to arrears (prepaid) or receivable. tests/property has the same in plain Python, as an oracle.
-- What is less for an account with credits is reduce_charge's.
WITH due AS MATERIALIZED (
    -- The day in a FILTER: of a WHERE the planner thinks that it leaves a few rows, and loops.
    SELECT account_no, (sum(change_nano) FILTER (WHERE day = %(day)s))::bigint AS amount, mode
    FROM hopsmeter_changes GROUP BY account_no, mode
    HAVING sum(change_nano) FILTER (WHERE day = %(day)s) <> 0
       AND (mode = 'postpaid' OR sum(change_nano) FILTER (WHERE day = %(day)s) > 0)),
ranked AS (
    SELECT l.id, l.account_no, l.remaining_nano, d.amount,
           (sum(l.remaining_nano) OVER (PARTITION BY l.account_no
                ORDER BY l.expires_on NULLS LAST, l.priority, l.id))::bigint
               - l.remaining_nano AS before
    FROM due d JOIN hopsmeter.credit_lots l ON l.account_no = d.account_no
    WHERE d.mode <> 'postpaid' AND l.is_open
      AND (l.expires_on IS NULL OR l.expires_on > %(day)s)),
drawn AS MATERIALIZED (
    SELECT id, account_no, least(remaining_nano, amount - before) AS part FROM ranked
    WHERE before < amount),
paid AS MATERIALIZED (
    SELECT account_no, hopsmeter.sum_nano(part) AS part FROM drawn GROUP BY account_no),
moves AS MATERIALIZED (
    SELECT account_no, 1::smallint AS book, -part AS amount_nano FROM paid
    UNION ALL
    SELECT d.account_no, CASE d.mode WHEN 'prepaid' THEN 3 ELSE 2 END::smallint,
           coalesce(p.part, 0) - d.amount
    FROM due d LEFT JOIN paid p USING (account_no)
    WHERE d.amount <> coalesce(p.part, 0)),
entries AS (
    INSERT INTO hopsmeter.ledger_entries
        (account_no, book, contra, amount_nano, posted_on, usage_day, posting_no)
    SELECT account_no, book, 11, amount_nano, %(posted_on)s, %(day)s, %(no)s FROM moves
    ORDER BY account_no, book
    RETURNING id, account_no, book),
draws AS (
    INSERT INTO hopsmeter.credit_draws (entry_id, lot_id, amount_nano)
    SELECT e.id, d.id, -d.part
    FROM drawn d JOIN entries e ON e.account_no = d.account_no AND e.book = 1),
emptied AS (
    UPDATE hopsmeter.credit_lots l SET remaining_nano = l.remaining_nano - d.part
    FROM drawn d WHERE l.id = d.id),
booked AS (
    UPDATE hopsmeter.ledger_balances b SET balance_nano = b.balance_nano + m.amount_nano
    FROM moves m WHERE b.account_no = m.account_no AND b.book = m.book)
SELECT (SELECT count(*) FROM entries),
       EXISTS (SELECT FROM hopsmeter_changes WHERE day = %(day)s AND change_nano < 0);

-- name: reduce_charges
-- What a day is charged less than was posted of it, account by account where there may be credits.
SELECT hopsmeter.reduce_charge(account_no, %(day)s, %(no)s, -amount, mode, %(posted_on)s, %(today)s)
FROM (SELECT account_no, sum(change_nano)::bigint AS amount, mode FROM hopsmeter_changes
      WHERE day = %(day)s GROUP BY account_no, mode HAVING sum(change_nano) < 0) c
WHERE mode <> 'postpaid' ORDER BY account_no;

-- name: entries_of
-- How many entries a posting wrote.
SELECT count(*) FROM hopsmeter.ledger_entries e
JOIN (SELECT DISTINCT account_no FROM hopsmeter_changes WHERE day = %(day)s) c USING (account_no)
WHERE e.usage_day = %(day)s AND e.posting_no = %(no)s;
