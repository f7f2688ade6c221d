-- How a year of a site is made of its first days: the same rows, later.

-- name: repeat_allocations
-- In the order in which they lie, as they were stored.
INSERT INTO hopsmeter.allocations
SELECT hour + %(shift)s, namespace_id, cluster_id, kind, flags, revision, user_no, account_no,
       plan_version_id, cpu_nano, gpu_nano, ram_nano, pv_nano, network_nano, load_balancer_nano,
       shared_nano, external_nano, adjustment_nano, rounding_nano, total_nano, cpu_core_hours_micro,
       gpu_hours_micro, ram_byte_hours, pv_byte_hours, network_transfer_bytes,
       network_receive_bytes, minutes_micro, efficiency_ppm
FROM hopsmeter.allocations WHERE hour >= %(since)s AND hour < %(until)s;

-- name: repeat_windows
-- Each with the hash of its own answer: where that is not there, with one of an answer that was dropped.
INSERT INTO hopsmeter.collection_windows
    (cluster_id, hour, state, flags, revision, raw_sha256, row_count, total_nano, collected_at,
     settled_at, stored_no, posted_no)
SELECT w.cluster_id, w.hour + %(shift)s, w.state, w.flags, w.revision,
       coalesce(r.sha256, sha256(w.raw_sha256)), w.row_count, w.total_nano,
       w.collected_at + %(shift)s, w.settled_at + %(shift)s, w.stored_no,
       CASE WHEN %(posted)s THEN w.posted_no ELSE 0 END
FROM hopsmeter.collection_windows w
LEFT JOIN hopsmeter.raw_answers r ON r.cluster_id = w.cluster_id AND r.hour = w.hour + %(shift)s
WHERE w.hour >= %(since)s AND w.hour < %(until)s
ORDER BY w.hour, w.cluster_id;

-- name: repeat_cluster_days
INSERT INTO hopsmeter.cluster_days (cluster_id, day, closed_at)
SELECT cluster_id, day + %(days)s, closed_at + %(shift)s FROM hopsmeter.cluster_days
WHERE day >= %(first)s AND day < %(after)s ORDER BY day, cluster_id;

-- name: repeat_usage_daily
INSERT INTO hopsmeter.usage_daily
SELECT user_no, account_no, cluster_id, date + %(days)s, opencost_cpu_nano, opencost_gpu_nano,
       opencost_ram_nano, opencost_pv_nano, opencost_network_nano, opencost_other_nano,
       opencost_total_nano, charge_nano, project_breakdown
FROM hopsmeter.usage_daily WHERE date >= %(first)s AND date < %(after)s
ORDER BY date, cluster_id, user_no;

-- name: repeat_cost_daily
INSERT INTO hopsmeter.cost_daily
SELECT date + %(days)s, cluster_id, namespace_id, kind, user_no, account_no, hours, cpu_nano,
       gpu_nano, ram_nano, pv_nano, network_nano, other_nano, total_nano, charge_nano,
       first_hour + %(shift)s, last_hour + %(shift)s, cpu_core_hours_micro, gpu_hours_micro,
       ram_byte_hours, pv_byte_hours, used_weighted_nano
FROM hopsmeter.cost_daily WHERE date >= %(first)s AND date < %(after)s
ORDER BY date, cluster_id, namespace_id;

-- name: repeat_included_used
INSERT INTO hopsmeter.included_used_daily
SELECT account_no, date + %(days)s, plan_version_id, cpu_core_hours_micro, gpu_hours_micro,
       ram_byte_hours, pv_byte_hours, network_transfer_bytes
FROM hopsmeter.included_used_daily WHERE date >= %(first)s AND date < %(after)s
ORDER BY date, account_no;

-- name: repeat_postings
INSERT INTO hopsmeter.postings (day, no, at, entries)
SELECT day + %(days)s, no, at + %(shift)s, entries FROM hopsmeter.postings
WHERE day >= %(first)s AND day < %(after)s ORDER BY day, no;

-- name: repeat_posted_hours
INSERT INTO hopsmeter.posted_hours (hour, cluster_id, posting_no, revision)
SELECT hour + %(shift)s, cluster_id, posting_no, revision FROM hopsmeter.posted_hours
WHERE hour >= %(since)s AND hour < %(until)s ORDER BY hour, cluster_id;

-- name: posted_ids
-- The first and the last entry that postings wrote of the days since one.
SELECT min(id), max(id) FROM hopsmeter.ledger_entries WHERE usage_day >= %(since)s;

-- name: repeat_entries
INSERT INTO hopsmeter.ledger_entries
    (id, at, amount_nano, account_no, book, contra, posted_on, usage_day, posting_no)
OVERRIDING SYSTEM VALUE
SELECT id + %(ids)s, at, amount_nano, account_no, book, contra, posted_on + %(days)s,
       usage_day + %(days)s, posting_no
FROM hopsmeter.ledger_entries WHERE usage_day >= %(first)s AND usage_day < %(after)s ORDER BY id;

-- name: repeat_draws
INSERT INTO hopsmeter.credit_draws (entry_id, lot_id, amount_nano)
SELECT d.entry_id + %(ids)s, d.lot_id, d.amount_nano
FROM hopsmeter.credit_draws d JOIN hopsmeter.ledger_entries e ON e.id = d.entry_id
WHERE e.usage_day >= %(first)s AND e.usage_day < %(after)s ORDER BY d.entry_id;

-- name: balance
-- What the entries that were repeated make of each book.
UPDATE hopsmeter.ledger_balances b SET balance_nano = e.nano
FROM (SELECT account_no, book, sum(amount_nano)::bigint AS nano FROM hopsmeter.ledger_entries
      GROUP BY account_no, book) e
WHERE e.account_no = b.account_no AND e.book = b.book;

-- name: draw_down
-- And of each lot.
UPDATE hopsmeter.credit_lots l SET remaining_nano = l.amount_nano + d.nano
FROM (SELECT lot_id, sum(amount_nano)::bigint AS nano FROM hopsmeter.credit_draws GROUP BY lot_id) d
WHERE d.lot_id = l.id;

-- name: go_on_after
-- The next entry comes after those that were repeated.
SELECT setval(pg_get_serial_sequence('hopsmeter.ledger_entries', 'id'), max(id))
FROM hopsmeter.ledger_entries;

-- name: tables
-- All that autovacuum looks after: not the parents of partitions.
SELECT format('VACUUM (ANALYZE) %%I.%%I', schemaname, tablename)
FROM pg_tables t JOIN pg_class c ON c.oid = format('%%I.%%I', schemaname, tablename)::regclass
WHERE schemaname = 'hopsmeter' AND c.relkind = 'r';

-- name: add_plans
-- A rate card with something included, and another factor.
INSERT INTO hopsmeter.rate_plans (name, kind, currency)
VALUES ('card', 'rate_card', 'USD'), ('dearer', 'cost_plus', NULL);

-- name: add_versions
INSERT INTO hopsmeter.rate_plan_versions
    (plan_id, valid_from, factor, cpu_price, ram_price, cpu_included)
SELECT p.id, %(since)s, v.factor, v.cpu_price, v.ram_price, v.cpu_included FROM hopsmeter.rate_plans p
JOIN (VALUES ('card', NULL::numeric, 0.035, 0.004, 100), ('dearer', 1.25, NULL, NULL, NULL))
    AS v (name, factor, cpu_price, ram_price, cpu_included) USING (name);

-- name: assign_plans
-- Every tenth account pays by the card, every tenth by the other factor.
INSERT INTO hopsmeter.plan_assignments (account_no, plan_id, valid, created_by)
SELECT u.no, p.id, tstzrange(%(since)s, NULL), 'bench' FROM hopsmeter.users u
JOIN hopsmeter.rate_plans p ON p.name = CASE u.no %% 10 WHEN 3 THEN 'card' WHEN 4 THEN 'dearer' END;
