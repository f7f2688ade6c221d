-- name: events_read_to
-- Since when Stripe's events are ours, and up to where its list of them was read; no row before set-up.
SELECT set_up_at, events_read_to FROM hopsmeter.stripe_site;

-- name: set_events_read_to
-- Only ahead: another daemon may have read further.
UPDATE hopsmeter.stripe_site SET events_read_to = %(to)s
WHERE coalesce(events_read_to < %(to)s, true);
