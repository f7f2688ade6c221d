-- What screens, lists and exports read. Column by column, never `*`: the terminal's role sees no
-- sealed column. Parameters by name; the clock comes from the caller.

-- name: clusters
-- Every cluster that is not removed: its contact, its hours by state, its costs. Settled hours are
-- the span of its windows less the others (there are no holes: invariant 7), so nothing counts years.
-- A failed hour that is being read again keeps its fault until it is answered; `newest_fail` looks at
-- the newest hours that were asked for.
SELECT c.id, c.name, c.currency, c.status, c.status_why, c.transport, c.metering_since,
       c.last_asked_at, c.last_answered_at, c.last_outcome, c.failures, c.next_visit_at,
       c.credentials_expire_at, coalesce(s.span, 0) AS span, w.due, w.collecting, w.collected, w.failed, w.refused,
       w.held, w.gap, w.waived, w.oldest_open, w.rereads_refused, w.faulted, coalesce(w.fault, '') AS fault,
       coalesce(f.newest_fail, false) AS newest_fail,
       n.hour AS newest_hour, coalesce(n.total_nano, 0) AS newest_nano,
       (SELECT coalesce(sum(t.total_nano), 0)::bigint FROM hopsmeter.collection_windows t
        WHERE t.cluster_id = c.id AND t.hour >= %(day_start)s
          AND t.hour < %(day_start)s::timestamptz + interval '1 day') AS today_nano
FROM hopsmeter.hopsworks_clusters c
LEFT JOIN LATERAL (
    SELECT (extract(epoch FROM max(hour) - min(hour))::bigint / 3600 + 1)::int AS span
    FROM hopsmeter.collection_windows WHERE cluster_id = c.id) s ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'due' AND NOT leased) AS due,
           count(*) FILTER (WHERE leased) AS collecting,
           count(*) FILTER (WHERE state = 'collected' AND NOT leased) AS collected,
           count(*) FILTER (WHERE state = 'failed' AND NOT leased) AS failed,
           count(*) FILTER (WHERE state = 'refused' AND NOT leased) AS refused,
           count(*) FILTER (WHERE state = 'held' AND NOT leased) AS held,
           count(*) FILTER (WHERE state = 'gap' AND NOT leased) AS gap,
           count(*) FILTER (WHERE state = 'waived' AND NOT leased) AS waived,
           min(hour) FILTER (WHERE state IN ('due', 'failed')) AS oldest_open,
           count(*) FILTER (WHERE state = 'collected' AND pending_sha256 IS NOT NULL)
               AS rereads_refused,
           count(*) FILTER (WHERE state = 'failed' AND fault IS NOT NULL) AS faulted,
           (array_agg(fault ORDER BY hour DESC)
               FILTER (WHERE state = 'failed' AND fault IS NOT NULL))[1] AS fault
    FROM (SELECT state, hour, fault, pending_sha256,
                 coalesce(lease_until > %(now)s, false) AS leased
          FROM hopsmeter.collection_windows WHERE cluster_id = c.id AND state <> 'settled') o
    ) w ON true
LEFT JOIN LATERAL (
    SELECT count(*) = %(newest)s AND bool_and(state IN ('failed', 'refused'))
           AND bool_or(state = 'failed' AND fault IS NOT NULL) AS newest_fail
    FROM (SELECT state, fault FROM hopsmeter.collection_windows
          WHERE cluster_id = c.id AND (state <> 'due' OR fault IS NOT NULL)
          ORDER BY hour DESC LIMIT %(newest)s) o
    ) f ON true
LEFT JOIN LATERAL (
    SELECT hour, total_nano FROM hopsmeter.collection_windows
    WHERE cluster_id = c.id AND revision > 0 ORDER BY hour DESC LIMIT 1) n ON true
WHERE c.status <> 'removed' AND (%(cluster)s::text IS NULL OR c.name = %(cluster)s)
ORDER BY c.name;

-- name: hours_map
-- The state of each hour of a range, one row per cluster, oldest hour first; null before metering.
-- A removed cluster, like in the next query, only where it is named.
SELECT c.name,
       (SELECT array_agg(CASE WHEN w.lease_until > %(now)s THEN 'collecting' ELSE w.state END
                         ORDER BY h.hour)
        FROM generate_series(%(since)s::timestamptz, %(until)s::timestamptz - interval '1 hour',
                             interval '1 hour') h (hour)
        LEFT JOIN hopsmeter.collection_windows w ON w.cluster_id = c.id AND w.hour = h.hour)
FROM hopsmeter.hopsworks_clusters c
WHERE CASE WHEN %(cluster)s::text IS NULL THEN c.status <> 'removed' ELSE c.name = %(cluster)s END
ORDER BY c.name;

-- name: elsewhere
-- What a map from an hour on does not show: hours before it that are not in the books for a reason
-- that somebody should know, and what keeps a cluster from being asked at all.
SELECT c.name AS cluster,
       coalesce(b.failed, 0) AS failed, coalesce(b.refused, 0) AS refused,
       coalesce(b.held, 0) AS held, coalesce(b.gaps, 0) AS gaps, coalesce(b.due, 0) AS due,
       b.first,
       CASE WHEN c.failures > 0 AND c.status <> 'removed' THEN c.last_outcome ELSE '' END AS trouble,
       c.next_visit_at
FROM hopsmeter.hopsworks_clusters c
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE w.state = 'failed') AS failed,
           count(*) FILTER (WHERE w.state = 'refused') AS refused,
           count(*) FILTER (WHERE w.state = 'held') AS held,
           count(*) FILTER (WHERE w.state = 'gap') AS gaps,
           count(*) FILTER (WHERE w.state = 'due') AS due,
           min(w.hour) AS first
    FROM hopsmeter.collection_windows w
    WHERE w.cluster_id = c.id AND w.hour < %(before)s
      AND w.state IN ('failed', 'refused', 'held', 'gap', 'due')) b ON true
WHERE CASE WHEN %(cluster)s::text IS NULL THEN c.status <> 'removed' ELSE c.name = %(cluster)s END
  AND (b.first IS NOT NULL OR c.failures > 0 AND c.status <> 'removed')
ORDER BY c.name;

-- name: cluster_hours
-- The hours of one cluster in a range, newest first, with what is wrong and who decided.
SELECT c.name AS cluster, w.hour,
       CASE WHEN w.lease_until > %(now)s THEN 'collecting' ELSE w.state END AS state,
       c.currency, w.total_nano, w.row_count AS namespaces, w.revision, w.tries, w.next_try_at,
       coalesce(w.fault, '') AS fault, w.why, w.accepted, coalesce(w.decided_by, '') AS decided_by,
       array_to_string(w.flags, ' ') AS flags,
       coalesce(encode(w.raw_sha256, 'hex'), '') AS sha256,
       coalesce(encode(w.pending_sha256, 'hex'), '') AS pending_sha256,
       w.collected_at, w.settled_at
FROM hopsmeter.collection_windows w
JOIN hopsmeter.hopsworks_clusters c ON c.id = w.cluster_id
WHERE c.name = %(cluster)s AND w.hour >= %(since)s AND w.hour < %(until)s
ORDER BY w.hour DESC;

-- name: asked_hours
-- What became of hours that somebody asked for at an instant: by cluster and word, the oldest first.
WITH span AS (
    SELECT * FROM unnest(%(clusters)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[])
        AS s (cluster, first, last)),
asked AS (
    SELECT c.name AS cluster, w.hour, w.why,
           CASE WHEN w.lease_until > clock_timestamp() THEN 'open'
                WHEN w.next_try_at <= %(asked_at)s AND c.status <> 'active' THEN 'left alone'
                WHEN w.next_try_at <= %(asked_at)s AND c.next_visit_at IS NULL THEN 'open'
                WHEN w.next_try_at <= %(asked_at)s THEN 'left alone'
                WHEN w.state IN ('held', 'gap', 'waived') THEN w.state
                WHEN w.pending_sha256 IS NOT NULL THEN 'refused'
                WHEN w.fault IS NOT NULL THEN 'failed'
                WHEN w.revision > 0 THEN 'kept'
                ELSE 'open' END AS word
    FROM span s
    JOIN hopsmeter.hopsworks_clusters c ON c.name = s.cluster
    JOIN hopsmeter.collection_windows w
        ON w.cluster_id = c.id AND w.hour BETWEEN s.first AND s.last)
SELECT cluster, word, count(*) AS hours, min(hour) AS oldest,
       (array_agg(why ORDER BY hour))[1] AS why
FROM asked GROUP BY cluster, word ORDER BY cluster, min(hour);

-- name: cost_by_user
-- What each user's namespaces cost on a day and in an hour, per currency, dearest first.
WITH today AS (
    SELECT user_no, cluster_id, sum(total_nano) AS nano FROM hopsmeter.cost_by_day
    WHERE date = %(day)s AND kind = 1 GROUP BY user_no, cluster_id),
newest AS (
    SELECT user_no, cluster_id, sum(total_nano) AS nano FROM hopsmeter.allocations
    WHERE hour = %(hour)s AND kind = 1 GROUP BY user_no, cluster_id)
SELECT u.id AS user_id, u.email, u.name, c.currency,
       coalesce(sum(t.nano), 0)::bigint AS day_nano, coalesce(sum(n.nano), 0)::bigint AS hour_nano
FROM today t FULL JOIN newest n USING (user_no, cluster_id)
JOIN hopsmeter.users u ON u.no = user_no
JOIN hopsmeter.hopsworks_clusters c ON c.id = cluster_id
GROUP BY u.id, u.email, u.name, c.currency
ORDER BY day_nano DESC, hour_nano DESC, u.email, u.id;

-- name: cost_by_account
-- The same for the accounts that pay.
WITH today AS (
    SELECT account_no, cluster_id, sum(total_nano) AS nano FROM hopsmeter.cost_by_day
    WHERE date = %(day)s AND kind = 1 GROUP BY account_no, cluster_id),
newest AS (
    SELECT account_no, cluster_id, sum(total_nano) AS nano FROM hopsmeter.allocations
    WHERE hour = %(hour)s AND kind = 1 GROUP BY account_no, cluster_id)
SELECT u.id AS user_id, u.email, u.name, c.currency,
       coalesce(sum(t.nano), 0)::bigint AS day_nano, coalesce(sum(n.nano), 0)::bigint AS hour_nano
FROM today t FULL JOIN newest n USING (account_no, cluster_id)
JOIN hopsmeter.users u ON u.no = account_no
JOIN hopsmeter.hopsworks_clusters c ON c.id = cluster_id
GROUP BY u.id, u.email, u.name, c.currency
ORDER BY day_nano DESC, hour_nano DESC, u.email, u.id;

-- name: namespaces
-- What namespaces cost since a day, by kind of cost, and on the last of these days; dearest first.
-- Of one cluster, of one user, or of all. A namespace that changed hands has a row for each owner.
SELECT c.name AS cluster, n.name AS namespace, k.name AS kind, coalesce(u.id, '') AS user_id,
       coalesce(u.email, '') AS email, c.currency, sum(d.hours)::int AS hours,
       sum(d.cpu_nano)::bigint AS cpu_nano, sum(d.gpu_nano)::bigint AS gpu_nano,
       sum(d.ram_nano)::bigint AS ram_nano, sum(d.pv_nano)::bigint AS pv_nano,
       sum(d.network_nano)::bigint AS network_nano, sum(d.other_nano)::bigint AS other_nano,
       sum(d.total_nano)::bigint AS total_nano, sum(d.charge_nano)::bigint AS charge_nano,
       coalesce(sum(d.total_nano) FILTER (WHERE d.date = %(day)s), 0)::bigint AS day_nano,
       min(d.first_hour) AS first_hour, max(d.last_hour) AS last_hour
FROM hopsmeter.cost_by_day d
JOIN hopsmeter.namespaces n ON n.id = d.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
JOIN hopsmeter.allocation_kinds k ON k.kind = d.kind
LEFT JOIN hopsmeter.users u ON u.no = d.user_no
WHERE d.date >= %(since)s AND d.date <= %(day)s
  AND (%(cluster)s::text IS NULL
       OR d.cluster_id = (SELECT id FROM hopsmeter.hopsworks_clusters WHERE name = %(cluster)s))
  AND (%(user_id)s::text IS NULL
       OR d.user_no = (SELECT no FROM hopsmeter.users WHERE id = %(user_id)s))
GROUP BY c.name, n.name, k.name, u.id, u.email, c.currency
ORDER BY total_nano DESC, c.name, n.name, u.id;

-- name: unmapped
-- Namespaces with cost in the period and no owner, dearest first, of one cluster or of all. Those of
-- removed clusters too: their money is in the books, and whoever is named later pays it.
SELECT c.name AS cluster, c.status = 'removed' AS removed, n.name AS namespace, c.currency,
       sum(d.hours)::int AS hours,
       sum(d.total_nano)::bigint AS total_nano, min(d.first_hour) AS first_hour,
       max(d.last_hour) AS last_hour
FROM hopsmeter.cost_by_day d
JOIN hopsmeter.namespaces n ON n.id = d.namespace_id
JOIN hopsmeter.hopsworks_clusters c ON c.id = d.cluster_id
WHERE d.kind = 0 AND (%(since)s::date IS NULL OR d.date >= %(since)s)
  AND (%(cluster)s::text IS NULL OR c.name = %(cluster)s)
GROUP BY c.name, c.status, n.name, c.currency
HAVING sum(d.total_nano) <> 0
ORDER BY total_nano DESC, c.name, n.name;

-- name: namespace_hours
-- The hours of one namespace in a range, newest first, each with its owner and kinds of cost.
SELECT a.hour, k.name AS kind, coalesce(u.id, '') AS user_id, coalesce(u.email, '') AS email,
       c.currency, a.revision, a.cpu_nano, a.gpu_nano, a.ram_nano, a.pv_nano, a.network_nano,
       a.load_balancer_nano + a.shared_nano + a.external_nano + a.adjustment_nano
           + a.rounding_nano AS other_nano,
       a.total_nano, a.flags
FROM hopsmeter.namespaces n
JOIN hopsmeter.hopsworks_clusters c ON c.id = n.cluster_id
JOIN hopsmeter.allocations a ON a.namespace_id = n.id
JOIN hopsmeter.allocation_kinds k ON k.kind = a.kind
LEFT JOIN hopsmeter.users u ON u.no = a.user_no
WHERE c.name = %(cluster)s AND n.name = %(namespace)s
  AND a.hour >= %(since)s AND a.hour < %(until)s
ORDER BY a.hour DESC;

-- name: one_hour
-- Everything kept of one namespace in one hour, down to the hash of the answer it came from.
SELECT c.name AS cluster, n.name AS namespace, a.hour, c.currency, k.name AS kind,
       u.id AS user_id, u.email AS user_email, p.id AS account_id, p.email AS account_email,
       r.name AS plan, r.currency AS plan_currency, v.*,
       hopsmeter.charge_nano(a, v, f) AS charge_nano,
       a.flags, a.revision,
       a.cpu_nano, a.gpu_nano, a.ram_nano, a.pv_nano, a.network_nano, a.load_balancer_nano,
       a.shared_nano, a.external_nano, a.adjustment_nano, a.rounding_nano, a.total_nano,
       a.cpu_core_hours_micro, a.gpu_hours_micro, a.ram_byte_hours, a.pv_byte_hours,
       a.network_transfer_bytes, a.network_receive_bytes, a.minutes_micro, a.efficiency_ppm,
       w.state, coalesce(encode(w.raw_sha256, 'hex'), '') AS sha256,
       w.total_nano AS hour_nano, w.row_count AS hour_namespaces, w.collected_at, w.settled_at,
       array_to_string(w.flags, ' ') AS hour_flags, w.accepted,
       coalesce(w.decided_by, '') AS decided_by
FROM hopsmeter.namespaces n
JOIN hopsmeter.hopsworks_clusters c ON c.id = n.cluster_id
JOIN hopsmeter.allocations a ON a.namespace_id = n.id AND a.hour = %(hour)s
JOIN hopsmeter.allocation_kinds k ON k.kind = a.kind
JOIN hopsmeter.collection_windows w ON w.cluster_id = n.cluster_id AND w.hour = a.hour
LEFT JOIN hopsmeter.users u ON u.no = a.user_no
LEFT JOIN hopsmeter.users p ON p.no = a.account_no
LEFT JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
LEFT JOIN hopsmeter.rate_plans r ON r.id = v.plan_id
LEFT JOIN LATERAL hopsmeter.free_parts(
    a.hour, a.hour + interval '1 hour', ARRAY[a.account_no], NULL) f
    ON f.namespace_id = a.namespace_id
WHERE c.name = %(cluster)s AND n.name = %(namespace)s;

-- name: daemons
-- The heartbeat of every installation, the freshest first.
SELECT name, pid, version, started_at, seen_at, stopped_at FROM hopsmeter.daemons
ORDER BY seen_at DESC, name;

-- name: session
-- Who this session is, and what it may do.
SELECT current_database() AS database, session_user AS role,
       current_setting('server_version') AS server_version,
       current_setting('transaction_read_only') = 'on' AS read_only,
       u.id AS user_id, u.email, coalesce(u.is_admin, false) AS is_admin
FROM (SELECT 1) one
LEFT JOIN hopsmeter.logins l ON l.role = session_user
LEFT JOIN hopsmeter.users u ON u.id = l.user_id;

-- name: rate_plans
-- Every plan, the default one first, and how many accounts are assigned to it at an instant.
SELECT p.name AS plan, p.kind, p.currency, p.is_default,
       (SELECT count(*) FROM hopsmeter.plan_assignments s
        WHERE s.plan_id = p.id AND s.valid @> %(now)s::timestamptz)::int AS accounts
FROM hopsmeter.rate_plans p
ORDER BY p.is_default DESC, p.name;

-- name: rate_plan_versions
-- The versions of a plan, or of all, oldest first.
SELECT v.*, lower(v.valid) AS since, upper(v.valid) AS until
FROM hopsmeter.rate_plan_periods v
WHERE %(plan)s::text IS NULL OR v.plan = %(plan)s
ORDER BY v.plan, lower(v.valid);

-- name: rate_plan_accounts
-- Who was, is or will be assigned to a plan, newest period first.
SELECT u.id AS account_id, u.email, lower(s.valid) AS since, upper(s.valid) AS until,
       s.created_by, s.created_at
FROM hopsmeter.plan_assignments s
JOIN hopsmeter.rate_plans p ON p.id = s.plan_id
JOIN hopsmeter.users u ON u.no = s.account_no
WHERE p.name = %(plan)s ORDER BY lower(s.valid) DESC, u.id;

-- name: rate_quote
-- What prices an account in one hour.
SELECT u.id AS account_id, u.email, v.*,
       lower(v.valid) AS version_since, upper(v.valid) AS version_until,
       lower(s.valid) AS assigned_since, upper(s.valid) AS assigned_until
FROM hopsmeter.users u
LEFT JOIN hopsmeter.plan_assignments s
    ON s.account_no = u.no AND s.valid @> %(hour)s::timestamptz
JOIN hopsmeter.rate_plan_periods v
    ON v.plan_id = coalesce(s.plan_id, (SELECT id FROM hopsmeter.rate_plans WHERE is_default))
    AND v.valid @> %(hour)s::timestamptz
WHERE u.id = %(account)s;

-- name: accounts
-- Every account, or one: how it pays today and next, its policy, its marks, what is in its books.
SELECT u.no AS account_no, u.id AS account_id, u.email, coalesce(u.currency, '') AS currency, u.status,
       hopsmeter.mode_on(u.no, %(today)s) AS mode, n.mode AS next_mode, n.since AS next_mode_on,
       coalesce(c.grace_nano, 0) AS grace_nano, c.low_nano, c.low_at, c.empty_at, c.beyond_at,
       coalesce(b.credits, 0) AS credits_nano, coalesce(-b.arrears, 0) AS arrears_nano,
       coalesce(-b.receivable, 0) AS receivable_nano
FROM hopsmeter.users u
LEFT JOIN hopsmeter.user_credits c ON c.account_no = u.no
LEFT JOIN LATERAL (
    SELECT mode, lower(valid) AS since FROM hopsmeter.billing_modes
    WHERE account_no = u.no AND lower(valid) > %(today)s ORDER BY lower(valid) LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT max(balance_nano) FILTER (WHERE book = 1) AS credits,
           max(balance_nano) FILTER (WHERE book = 2) AS receivable,
           max(balance_nano) FILTER (WHERE book = 3) AS arrears
    FROM hopsmeter.ledger_balances WHERE account_no = u.no) b ON true
WHERE CASE WHEN %(account_no)s::int IS NOT NULL THEN u.no = %(account_no)s
      ELSE u.account_owner_id IS NULL AND (u.status <> 'deleted' OR b.credits <> 0
                                           OR b.receivable <> 0 OR b.arrears <> 0) END
ORDER BY lower(u.email), u.id;

-- name: account_modes
-- How an account paid, pays and will pay, newest first.
SELECT mode, lower(valid) AS since, upper(valid) AS until, created_by, created_at
FROM hopsmeter.billing_modes WHERE account_no = %(account_no)s ORDER BY lower(valid) DESC;

-- name: credit_sums
-- What came into the credits of accounts and what went out, and what is in their books, until a
-- moment; of one account, or of each that ever had an entry. The two halves are each an index's.
WITH entries AS (
    SELECT account_no, book, contra, amount_nano FROM hopsmeter.ledger_entries
    WHERE posting_no IS NOT NULL AND at <= %(until)s
      AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)
    UNION ALL
    SELECT account_no, book, contra, amount_nano FROM hopsmeter.ledger_entries
    WHERE ref IS NOT NULL AND at <= %(until)s
      AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)),
moved AS (
    SELECT account_no, book, contra, sum(amount_nano) AS nano FROM entries GROUP BY 1, 2, 3)
SELECT account_no,
       coalesce(sum(nano) FILTER (WHERE book = 1 AND contra = 12), 0)::bigint AS bought_nano,
       coalesce(sum(nano) FILTER (WHERE book = 1 AND contra = 13), 0)::bigint AS granted_nano,
       coalesce(-sum(nano) FILTER (WHERE book = 1 AND contra = 15), 0)::bigint AS refunded_nano,
       (coalesce(sum(nano) FILTER (WHERE contra = 1), 0)
        - coalesce(sum(nano) FILTER (WHERE book = 1 AND contra = 11), 0))::bigint AS used_nano,
       coalesce(-sum(nano) FILTER (WHERE book = 1 AND contra = 14), 0)::bigint AS expired_nano,
       (coalesce(sum(nano) FILTER (WHERE book = 1), 0)
        - coalesce(sum(nano) FILTER (WHERE contra = 1), 0))::bigint AS credits_nano,
       (coalesce(sum(nano) FILTER (WHERE contra = 3), 0)
        - coalesce(sum(nano) FILTER (WHERE book = 3), 0))::bigint AS arrears_nano,
       (coalesce(sum(nano) FILTER (WHERE contra = 2), 0)
        - coalesce(sum(nano) FILTER (WHERE book = 2), 0))::bigint AS receivable_nano
FROM moved GROUP BY account_no;

-- name: credit_lots
-- The lots of an account as they stood at a moment: those with something left in the order of use,
-- then the others.
SELECT l.id AS lot, l.kind, l.amount_nano, l.amount_nano + coalesce(d.nano, 0) AS remaining_nano,
       l.expires_on, l.priority, e.at AS since,
       CASE WHEN l.expired_at <= %(until)s THEN l.expired_at END AS expired_at,
       coalesce(e.ref, '') AS key, coalesce(e.memo, '') AS why
FROM hopsmeter.credit_lots l
JOIN hopsmeter.ledger_entries e ON e.id = l.entry_id
LEFT JOIN LATERAL (
    SELECT sum(d.amount_nano)::bigint AS nano FROM hopsmeter.credit_draws d
    JOIN hopsmeter.ledger_entries x ON x.id = d.entry_id
    WHERE d.lot_id = l.id AND x.at <= %(until)s) d ON true
WHERE l.account_no = %(account_no)s AND e.at <= %(until)s
ORDER BY l.amount_nano + coalesce(d.nano, 0) = 0, l.expires_on NULLS LAST, l.priority, l.id;

-- name: open_lots
-- What is left in the lots of one account, or of all, in the order of use.
SELECT account_no, remaining_nano, expires_on FROM hopsmeter.credit_lots
WHERE remaining_nano > 0 AND expired_at IS NULL
  AND (%(account_no)s::int IS NULL OR account_no = %(account_no)s)
ORDER BY account_no, expires_on NULLS LAST, priority, id;

-- name: daily_pace
-- What accounts were charged on the last closed days, and over how many: days before the first
-- charge among them say nothing of the pace.
WITH closed AS (
    SELECT day FROM hopsmeter.cluster_days WHERE day < %(today)s
    GROUP BY day HAVING bool_and(closed_at IS NOT NULL) ORDER BY day DESC LIMIT %(days)s),
charged AS (
    SELECT u.account_no, sum(u.charge_nano)::bigint AS charged_nano,
           min(u.date) FILTER (WHERE u.charge_nano <> 0) AS first
    FROM hopsmeter.usage_daily u JOIN closed c ON c.day = u.date
    WHERE %(account_no)s::int IS NULL OR u.account_no = %(account_no)s
    GROUP BY u.account_no)
SELECT account_no, charged_nano, (SELECT count(*) FROM closed WHERE day >= first)::int AS days
FROM charged WHERE first IS NOT NULL;

-- name: ledger_before
-- What stood in the books of an account before a day, by posting date: credits, receivable, arrears.
WITH entries AS (
    SELECT book, contra, amount_nano FROM hopsmeter.ledger_entries
    WHERE posting_no IS NOT NULL AND account_no = %(account_no)s AND posted_on < %(first)s
    UNION ALL
    SELECT book, contra, amount_nano FROM hopsmeter.ledger_entries
    WHERE ref IS NOT NULL AND account_no = %(account_no)s AND posted_on < %(first)s)
SELECT coalesce(sum(CASE WHEN book = 1 THEN amount_nano WHEN contra = 1 THEN -amount_nano END), 0)::bigint,
       coalesce(sum(CASE WHEN book = 2 THEN -amount_nano WHEN contra = 2 THEN amount_nano END), 0)::bigint,
       coalesce(sum(CASE WHEN book = 3 THEN -amount_nano WHEN contra = 3 THEN amount_nano END), 0)::bigint
FROM entries;

-- name: ledger_lines
-- The entries of an account in the order of a statement, each with the lots it made, drew from or
-- gave back to.
WITH entries AS (
    SELECT id, at, posted_on, book, contra, amount_nano, usage_day, posting_no, ref, memo
    FROM hopsmeter.ledger_entries
    WHERE posting_no IS NOT NULL AND account_no = %(account_no)s
      AND posted_on >= %(first)s AND posted_on < %(after)s
    UNION ALL
    SELECT id, at, posted_on, book, contra, amount_nano, usage_day, posting_no, ref, memo
    FROM hopsmeter.ledger_entries
    WHERE ref IS NOT NULL AND account_no = %(account_no)s
      AND posted_on >= %(first)s AND posted_on < %(after)s)
SELECT e.id, e.at, e.posted_on, b.name AS book, c.name AS contra, e.amount_nano, e.usage_day,
       coalesce(e.ref, '') AS key, coalesce(e.memo, '') AS why, l.lots, l.nanos
FROM entries e
JOIN hopsmeter.ledger_codes b ON b.code = e.book
JOIN hopsmeter.ledger_codes c ON c.code = e.contra
LEFT JOIN LATERAL (
    SELECT array_agg(lot ORDER BY lot) AS lots, array_agg(nano ORDER BY lot) AS nanos
    FROM (SELECT lot, sum(nano)::bigint AS nano
          FROM (SELECT lot_id AS lot, amount_nano AS nano FROM hopsmeter.credit_draws
                WHERE entry_id = e.id
                UNION ALL
                SELECT id, amount_nano FROM hopsmeter.credit_lots WHERE entry_id = e.id) each
          GROUP BY lot) summed) l ON true
ORDER BY e.posted_on, e.id;

-- name: outgoing_events
-- Events by what became of them; those given up within some days, and the newest fault.
SELECT count(*) FILTER (WHERE state = 'due') AS waiting,
       min(created_at) FILTER (WHERE state = 'due') AS waiting_since,
       count(*) FILTER (WHERE state = 'unsent') AS unsent,
       count(*) FILTER (WHERE state = 'given_up' AND created_at > %(now)s - %(lately)s) AS given_up,
       coalesce((array_agg(error ORDER BY id DESC) FILTER (WHERE error IS NOT NULL
                  AND (state = 'due' OR created_at > %(now)s - %(lately)s)))[1], '') AS fault
FROM hopsmeter.outgoing_events;

-- name: plan_begins
-- A plan, its currency, and when its first version begins.
SELECT p.id, p.currency, min(v.valid_from) FROM hopsmeter.rate_plans p
JOIN hopsmeter.rate_plan_versions v ON v.plan_id = p.id
WHERE p.name = %(plan)s GROUP BY p.id;

-- name: rerated
-- What is stored of a span, by the plan that priced it and by another one, at its version in each hour:
-- per account and currency, the greatest difference first.
WITH charged AS (
    SELECT a.account_no, a.cluster_id, count(*)::int AS hours,
           sum(a.total_nano)::bigint AS cost_nano,
           sum(hopsmeter.charge_nano(a, v, f))::bigint AS now_nano,
           sum(hopsmeter.charge_nano(a, w, g))::bigint AS then_nano
    FROM hopsmeter.allocations a
    JOIN hopsmeter.rate_plan_versions v ON v.id = a.plan_version_id
    JOIN hopsmeter.rate_plan_periods p ON p.plan_id = %(plan_id)s AND p.valid @> a.hour
    JOIN hopsmeter.rate_plan_versions w ON w.id = p.id
    LEFT JOIN hopsmeter.free_parts(%(since)s, %(until)s, NULL, NULL) f
        ON f.hour = a.hour AND f.namespace_id = a.namespace_id
    LEFT JOIN hopsmeter.free_parts(%(since)s, %(until)s, NULL, %(plan_id)s) g
        ON g.hour = a.hour AND g.namespace_id = a.namespace_id
    WHERE a.hour >= %(since)s AND a.hour < %(until)s AND a.kind = 1
      AND (%(account_no)s::int IS NULL OR a.account_no = %(account_no)s)
    GROUP BY a.account_no, a.cluster_id)
SELECT u.id AS account_id, u.email, c.currency, sum(k.hours)::int AS hours,
       sum(k.cost_nano)::bigint AS cost_nano, sum(k.now_nano)::bigint AS charge_now_nano,
       sum(k.then_nano)::bigint AS charge_then_nano,
       sum(k.then_nano - k.now_nano)::bigint AS difference_nano,
       sum(k.now_nano - k.cost_nano)::bigint AS margin_now_nano,
       sum(k.then_nano - k.cost_nano)::bigint AS margin_then_nano
FROM charged k
JOIN hopsmeter.users u ON u.no = k.account_no
JOIN hopsmeter.hopsworks_clusters c ON c.id = k.cluster_id
GROUP BY u.id, u.email, c.currency
ORDER BY abs(sum(k.then_nano - k.now_nano)) DESC, u.id;

-- name: webhook_event
-- One event from outside, by its sender's id.
SELECT event_id, source, type, state, subject, about, created_at, received_at, done_at, came,
       deliveries, tries, CASE WHEN state = 'due' THEN next_try_at END AS next_try_at,
       coalesce(said, '') AS said, coalesce(error, '') AS error, coalesce(note, '') AS note,
       livemode, coalesce(api_version, '') AS api_version,
       coalesce(encode(body_sha256, 'hex'), '') AS body_sha256
FROM hopsmeter.webhook_events WHERE event_id = %(event_id)s ORDER BY id LIMIT 1;

-- name: webhook_events
-- The newest events from outside that are wanted.
SELECT event_id, source, type, state, subject, about, created_at, received_at, done_at, came,
       deliveries, tries, CASE WHEN state = 'due' THEN next_try_at END AS next_try_at,
       coalesce(said, '') AS said, coalesce(error, '') AS error, coalesce(note, '') AS note,
       livemode, coalesce(api_version, '') AS api_version,
       coalesce(encode(body_sha256, 'hex'), '') AS body_sha256
FROM hopsmeter.webhook_events
WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(type)s::text IS NULL OR type LIKE %(type)s)
  AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
ORDER BY id DESC LIMIT %(limit)s;

-- name: webhook_events_waiting
-- Events from outside that are not done, by state, with the age of the oldest.
SELECT s.state, count(e.id) AS count,
       coalesce(extract(epoch FROM clock_timestamp() - min(e.received_at)), 0)::float8 AS oldest_s
FROM (VALUES ('due'), ('unknown'), ('given up')) s (state)
LEFT JOIN hopsmeter.webhook_events e ON e.state = s.state AND e.state <> 'done'
GROUP BY s.state ORDER BY s.state;
