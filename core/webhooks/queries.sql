-- name: store
-- Keep events that are new, count deliveries of those that are not, and say how many were new. Sorted:
-- two who store the same events at once wait for each other, and never in a circle.
WITH given AS (
    SELECT DISTINCT ON (source, event_id) *,
           count(*) FILTER (WHERE came = 'delivered') OVER (PARTITION BY source, event_id) AS times
    FROM json_to_recordset(%(given)s::json)
        AS g (source text, event_id text, type text, subject text, created_at timestamptz, came text,
              livemode boolean, api_version text, about jsonb, body_sha256 text, note text,
              known boolean)
    ORDER BY source, event_id
), kept AS (
    INSERT INTO hopsmeter.webhook_events AS e
        (source, event_id, type, subject, created_at, came, livemode, api_version, about,
         body_sha256, note, state, deliveries)
    SELECT source, event_id, type, subject, created_at, came, livemode, api_version, about,
           decode(body_sha256, 'base64'), note, CASE WHEN known THEN 'due' ELSE 'unknown' END, times
    FROM given ORDER BY source, event_id
    ON CONFLICT (source, event_id) DO UPDATE SET deliveries = e.deliveries + excluded.deliveries
        WHERE excluded.deliveries > 0
    RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) FROM kept;

-- name: claim_events
-- Take what is due and nobody's: of each subject one, and none of a subject that somebody works on. A moment further
-- on than any pause or lease was set while this server's clock was ahead, and holds up nothing.
WITH waiting AS (
    SELECT id, subject, next_try_at FROM hopsmeter.webhook_events e
    WHERE state = 'due' AND source = %(source)s AND (next_try_at <= clock_timestamp()
           OR next_try_at > clock_timestamp() + make_interval(secs => %(pause_max_s)s))
      AND coalesce(lease_until NOT BETWEEN clock_timestamp()
                   AND clock_timestamp() + make_interval(secs => %(lease_max_s)s), true)
      AND NOT EXISTS (SELECT FROM hopsmeter.webhook_events held
                      WHERE held.source = e.source AND held.subject = e.subject
                        AND held.lease_token IS NOT NULL
                        AND held.lease_until BETWEEN clock_timestamp()
                            AND clock_timestamp() + make_interval(secs => %(lease_max_s)s))
    ORDER BY next_try_at, id LIMIT 1000
), first AS (
    SELECT DISTINCT ON (subject) id, next_try_at FROM waiting ORDER BY subject, next_try_at, id
), ours AS (
    SELECT e.id FROM hopsmeter.webhook_events e JOIN first USING (id)
    ORDER BY first.next_try_at, e.id LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
)
UPDATE hopsmeter.webhook_events e
SET tries = e.tries + 1, lease_token = %(token)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM ours WHERE e.id = ours.id
RETURNING e.id, e.source, e.event_id, e.type, e.subject, e.about, e.created_at, e.received_at,
    e.livemode, e.tries, e.lease_token AS token;

-- name: still_ours
-- The lease is ours, and has not ended.
SELECT FROM hopsmeter.webhook_events
WHERE id = %(id)s AND lease_token = %(token)s AND lease_until > clock_timestamp();

-- name: event_done
-- Its effects are in this transaction.
UPDATE hopsmeter.webhook_events
SET state = 'done', done_at = clock_timestamp(), said = %(said)s, error = NULL,
    lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: event_unknown
-- Nobody has anything to do for its type.
UPDATE hopsmeter.webhook_events
SET state = 'unknown', said = %(said)s, error = NULL, lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: event_failed
-- It did not go; another try after a pause.
UPDATE hopsmeter.webhook_events
SET error = %(said)s, next_try_at = clock_timestamp() + make_interval(secs => %(pause_s)s),
    lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: event_given_up
-- The last try failed.
UPDATE hopsmeter.webhook_events
SET state = 'given up', error = %(said)s, lease_token = NULL, lease_until = NULL
WHERE id = %(id)s AND lease_token = %(token)s;

-- name: replay_events
-- Make due again what is chosen and nobody works on; return the state that each was in. A lease further on than
-- any was taken for is nobody's: this server's clock was ahead.
WITH chosen AS (
    SELECT id, state FROM hopsmeter.webhook_events
    WHERE (%(event_id)s::text IS NULL OR event_id = %(event_id)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
      AND (%(type)s::text IS NULL OR type LIKE %(type)s)
      AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
      AND coalesce(lease_until NOT BETWEEN clock_timestamp()
                   AND clock_timestamp() + make_interval(secs => %(lease_max_s)s), true)
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE hopsmeter.webhook_events e
SET state = 'due', tries = 0, next_try_at = clock_timestamp(), error = NULL, done_at = NULL,
    lease_token = NULL, lease_until = NULL
FROM chosen WHERE e.id = chosen.id RETURNING chosen.state;

-- name: event_there
-- Whether there is an event of this id.
SELECT FROM hopsmeter.webhook_events WHERE event_id = %(event_id)s;
