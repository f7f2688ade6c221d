-- Part 2: plans per account. The code of 0001 may go on while this runs, and after it: it knows the
-- default plan only, and nobody can be given another one before the new code is there.

-- Which plan an account pays by, in whole hours; where it has none, the default plan.
CREATE TABLE hopsmeter.plan_assignments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_no int NOT NULL REFERENCES hopsmeter.users (no),
    plan_id int NOT NULL REFERENCES hopsmeter.rate_plans (id),
    valid tstzrange NOT NULL CHECK (
        NOT isempty(valid) AND lower_inc(valid) AND NOT upper_inc(valid)
        AND date_trunc('hour', lower(valid), 'UTC') = lower(valid)
        AND (upper_inf(valid) OR date_trunc('hour', upper(valid), 'UTC') = upper(valid))),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    CONSTRAINT plan_assignments_one_plan EXCLUDE USING gist (account_no WITH =, valid WITH &&)
);
CREATE INDEX plan_assignments_plan ON hopsmeter.plan_assignments (plan_id);

-- A version is what somebody was, or was told to be, charged by: a later one follows it, and none
-- is changed or taken back, used or not.
CREATE TRIGGER rate_plan_versions_append_only BEFORE UPDATE OR DELETE ON hopsmeter.rate_plan_versions
    FOR EACH ROW EXECUTE FUNCTION hopsmeter.refuse_change();
CREATE TRIGGER rate_plan_versions_no_truncate BEFORE TRUNCATE ON hopsmeter.rate_plan_versions
    FOR EACH STATEMENT EXECUTE FUNCTION hopsmeter.refuse_change();
ALTER TABLE hopsmeter.rate_plan_versions ADD CONSTRAINT rate_plan_versions_whole_hours
    CHECK (date_trunc('hour', valid_from, 'UTC') = valid_from);

-- Each version with the hours that it holds for: until the next one of its plan begins.
CREATE VIEW hopsmeter.rate_plan_periods AS
SELECT v.id, v.plan_id, p.name AS plan, p.is_default, v.factor,
       tstzrange(v.valid_from, lead(v.valid_from) OVER (PARTITION BY v.plan_id
                                                        ORDER BY v.valid_from)) AS valid
FROM hopsmeter.rate_plan_versions v JOIN hopsmeter.rate_plans p ON p.id = v.plan_id;
